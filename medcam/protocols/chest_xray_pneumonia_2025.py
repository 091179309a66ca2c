"""Weakly supervised pneumonia on chest X-rays (2025), with patients kept apart and opacities nobody chose twice."""

from collections.abc import Mapping, Sequence

from medcam.data.manifest import Manifest
from medcam.protocols._chest_xray_questions import FINDING, NEGATIVE, VIEW, findings, parts, shortcuts
from medcam.protocols._networks_compared import conditions, networks, pairs
from medcam.protocols._runs import Run, cross_validated
from medcam.protocols.base import Protocol, Setting
from medcam.training.options import Options
from medcam.training.settings import Settings

NETWORKS = ("resnet18", "efficientnet_b0", "vit_small", "densenet121")
OPACITY = ("Infiltration", "Pneumonia", "Consolidation")
OTHER = (
    "Atelectasis",
    "Cardiomegaly",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumothorax",
)
"""Findings in images that answer the question neither way, unless an opacity is there too."""


class ChestXrayPneumonia2025(Protocol):
    """Weakly supervised pneumonia on chest X-rays (2025): labels of whole images, focal loss, patients kept apart.

    The paper compares networks by image-level labels, weights classes in the focal loss and balances the sampler on
    top of it, which corrects twice; here the loss alone is weighted. Its children's X-rays are not at hand: adults in
    NIH ChestX-ray14 are asked about, opacity (Infiltration, Pneumonia or Consolidation) against No Finding.
    """

    name = "chest_xray_pneumonia_2025"
    paper = (
        "Shahi and Bagale, weakly supervised pneumonia localisation, arXiv 2511.00456 (2025): on the paediatric X-rays "
        "of Kermany et al., 224 px, ImageNet weights, accuracy 0.96 to 0.98, ResNet-18 AUROC 0.997. No comparison is "
        "possible: other patients, another question, no pre-training here."
    )
    data = (
        "NIH ChestX-ray14 at 320 px (Wang et al., CVPR 2017; the NIH Clinical Center is the data provider, "
        "https://nihcc.app.box.com/v/ChestXray-NIHCC). Labels were mined from reports; No Finding is no confirmed "
        "normal. The images come from two pools, one of which holds nearly all No Finding: pool and view alone tell "
        "the label, see below, and a network may have learned that."
    )

    def run(self, setting: Setting) -> Sequence[str]:
        chosen, manifest = options(setting.full), setting.data / "manifest.csv"
        pools = {row.columns["file"].strip(): row.columns["pool"] for row in Manifest.read(manifest).rows}

        def runs(group: str) -> list[Run]:
            folder = setting.work / group
            return cross_validated("chest_xray_opacity", manifest, folder, chosen, TRAININGS[group], setting.progress)

        every, frontal, learned = runs("all_views"), runs("pa"), runs("all_findings")
        return [
            conditions(every, chosen),
            networks(every),
            pairs(every),
            parts(every, frontal, learned, pools),
            findings(learned),
            shortcuts(every[0]),
        ]


TRAININGS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "all_views": {name: {"model": name} for name in NETWORKS},
    "pa": {"resnet18": {"model": "resnet18", "where": {VIEW: "PA"}}},
    "all_findings": {
        "resnet18": {
            "model": "resnet18",
            "positive": None,
            "negative": None,
            "multilabel": ",".join((f"{FINDING}={'+'.join(OPACITY)}", *OTHER, NEGATIVE)),
        }
    },
}
"""By folder and name, what differs from the options that all share."""


def options(full: bool) -> Options:
    """What all networks share."""
    return Options(
        size=(320,) if full else (128,),
        folds=5,
        within={"validation": 0.02, "calibration": 0.08},
        positive=",".join(OPACITY),
        negative=NEGATIVE,
        workers=2,
        settings=Settings(epochs=40 if full else 15, patience=None, keep="last", gamma=1.0, alpha="counts", flips=(1,)),
    )
