"""Weakly supervised pneumonia on chest X-rays (2025), with patients kept apart and opacities nobody chose twice."""

from collections.abc import Iterator, Sequence

import numpy as np

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.classification import auroc
from medcam.evaluation.comparison import compare
from medcam.evaluation.performance import Performance, performance
from medcam.protocols._runs import Run, cross_validated, rows_where, same_rows
from medcam.protocols.base import Protocol, Setting
from medcam.training._markdown import number, table, told
from medcam.training.options import Options
from medcam.training.settings import Settings

NETWORKS = ("resnet18", "efficientnet_b0", "vit_small", "densenet121")
VIEW = "view_or_probe"


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
        epochs = 40 if setting.full else 12
        options = Options(
            size=(320,) if setting.full else (112,),
            folds=5 if setting.full else 3,
            within={"validation": 0.04, "calibration": 0.12},
            positive="Infiltration,Pneumonia,Consolidation",
            negative="No Finding",
            workers=2,
            settings=Settings(epochs=epochs, patience=None, keep="last", gamma=1.0, alpha="counts", flips=(1,)),
        )
        manifest, networks = setting.data / "manifest.csv", {name: {"model": name} for name in NETWORKS}
        runs = cross_validated(
            "chest_xray_opacity", manifest, setting.work / "all_views", options, networks, setting.progress
        )
        frontal = cross_validated(
            "chest_xray_opacity",
            manifest,
            setting.work / "pa",
            options,
            {"resnet18": {"model": "resnet18", "where": {VIEW: "PA"}}},
            setting.progress,
        )
        return [_conditions(runs, options), _networks(runs), _pairs(runs), _views(runs, frontal), _shortcuts(runs[0])]


def _conditions(runs: Sequence[Run], options: Options) -> str:
    first, settings = runs[0], options.settings
    whole = first.figures()
    return f"""## Conditions

{whole.cases} images of {whole.patients} patients, {whole.positives} with an opacity ({whole.positive_patients} \
patients) and only {whole.cases - whole.positives} without ({whole.negative_patients} patients). {options.folds} folds \
by patient, the same for every network: each tests the patients that it learned nothing from; 4 % of the patients \
watch the training, 12 % calibrate the score and set the threshold (Youden). {options.size[0]} px, random first \
weights, {settings.epochs} epochs, the last one kept, AdamW with one cycle up to {settings.rate:g}, focal loss with \
gamma {settings.gamma:g} and class weights from counts, a plain sampler, images shifted, zoomed, turned, mirrored \
and made noisier, seed {settings.seed}. The networks of the first fold learned from \
{first.folds[0].account.data.sides["training"]["rows"]} images."""


def _networks(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        whole, spread = run.figures(), run.spread()
        assert spread.mean is not None
        assert spread.sd is not None
        rows.append(
            (
                run.name,
                f"{run.parameters / 1e6:.1f}",
                told(whole.auroc),
                f"{spread.mean:.3f} ± {spread.sd:.3f}",
                told(whole.average_precision),
                *_at(whole),
                f"{run.minutes:.0f}",
            )
        )
    together = mean_of(runs)
    if together is not None:
        ranks = told(together.auroc), "", told(together.average_precision)
        rows.append(("mean of them all", f"{sum(run.parameters for run in runs) / 1e6:.1f}", *ranks, "", "", ""))
    header = ("Network", "Million parameters", "AUROC, pooled", "AUROC of the folds, mean ± SD", "Average precision")
    return f"""## All views

{table((*header, "Sensitivity", "Specificity", "Minutes"), rows)}

Pooled: calibrated probabilities of all patients, each by the fold that did not learn from the patient. A plain \
ResNet-18 of 160 px had been measured at about 0.80 before, with five folds and so with half as many images again to \
learn from. Training took {sum(run.minutes for run in runs):.0f} minutes in all, whenever that was. The mean is that \
of the calibrated probabilities; no network was chosen for it."""


def mean_of(runs: Sequence[Run]) -> Performance | None:
    """What the mean of all networks ranks; None if they did not test the same files."""
    first = runs[0].scored
    if not same_rows(runs):
        return None
    mean = np.mean([run.scored.probabilities[:, 0] for run in runs], axis=0)
    return performance(first.labels[0], first.targets[:, 0], mean, first.patients, 0.5)


def _at(whole: Performance) -> Iterator[str]:
    yield told(whole.at_threshold["sensitivity"])
    yield told(whole.at_threshold["specificity"])


def _pairs(runs: Sequence[Run]) -> str:
    if not same_rows(runs):
        return "## Pairs of networks\n\nNot compared: the networks did not test the same files."
    draws = Bootstrap(runs[0].scored.patients)
    rows = []
    for position, one in enumerate(runs):
        for other in runs[position + 1 :]:
            told_apart = compare(
                one.scored.labels[0],
                one.scored.targets[:, 0],
                one.scored.probabilities[:, 0],
                other.scored.probabilities[:, 0],
                (one.flagged[:, 0], other.flagged[:, 0]),
                one.scored.patients,
                draws,
            )
            right = told_apart.correct
            rows.append(
                (
                    f"{one.name} less {other.name}",
                    told(told_apart.difference),
                    _chance(told_apart.p),
                    f"{right.only_first} / {right.only_second}",
                    _chance(right.p),
                )
            )
    header = ("Pair", "Difference of AUROC (DeLong)", "p", "Only the first / only the second right", "p (McNemar)")
    return f"""## Pairs of networks

{table(header, rows)}

{len(rows)} comparisons: a p of 0.05 in one of them is no news. McNemar's test is about decisions, each at a \
threshold of its own, which few patients set: a network that flags more of these mostly sick patients is right more \
often."""


def _chance(p: float | None) -> str:
    return "below 0.001" if p is not None and p < 0.001 else number(p)


def _views(runs: Sequence[Run], frontal: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        for view in ("PA", "AP"):
            part = run.figures(rows_where(run.scored, VIEW, view))
            rows.append(
                (f"{run.name}, trained on all views", view, part.cases, part.cases - part.positives, told(part.auroc))
            )
    for run in frontal:
        whole = run.figures()
        rows.append(
            (f"{run.name}, trained on PA only", "PA", whole.cases, whole.cases - whole.positives, told(whole.auroc))
        )
    return f"""## By view

{table(("Network", "Tested on", "Images", "Without opacity", "AUROC"), rows)}

Few of the AP images are without a finding, so that the view gives the label away; PA alone is the harder and the more \
honest question (before: about 0.73)."""


def _shortcuts(run: Run) -> str:
    scored = run.scored
    portable = rows_where(scored, VIEW, "AP").astype(float)
    area = auroc(scored.targets[:, 0], portable)
    rows = []
    for probe in run.folds[0].account.shortcuts:
        low, high = probe.interval
        rows.append((probe.shortcut, f"{probe.auroc:.3f} ({low:.3f} to {high:.3f})"))
    return f"""## What tells the label without the picture

{table(("Shortcut", "AUROC"), [("AP view, as it stands", number(area)), *rows])}

Regressions cross-validated by patient. A network's AUROC means little where it is not clearly above these."""
