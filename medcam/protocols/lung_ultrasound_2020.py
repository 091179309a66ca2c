"""Explainable lung ultrasound (POCOVID-Net, 2020), with groups of patients kept apart."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from medcam.data.dataset import load
from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.doubt import one_minus_two_sigma, pearson
from medcam.evaluation.overall import overall
from medcam.evaluation.performance import performance
from medcam.evaluation.table import Scored, Values
from medcam.protocols._frames import Folds, counts, frame_logits, train_frames
from medcam.protocols.base import Protocol, Setting
from medcam.training._markdown import table, told
from medcam.training.settings import Settings

CLASSES = {"covid": ("covid19",), "pneumonia": ("bacterial_pneumonia",), "regular": ("healthy",)}
POCUS, BLUES = "POCUS (POCOVID-Net)", "COVID-BLUES"
RULES = ("mean probability", "majority vote")


class LungUltrasound2020(Protocol):
    """Explainable lung ultrasound (POCOVID-Net, 2020), with groups of patients kept apart.

    Frames of convex clips at 3 Hz, at most 30 of a clip, three classes, frame networks pooled over the clip by mean
    probability and by majority, as in the paper. The paper splits by clip and chooses the epoch by the tested fold;
    here groups of patients are split and the last epoch is kept. What a split by clip would have claimed stands beside.
    """

    name = "lung_ultrasound_2020"
    paper = (
        "Born et al., arXiv 2009.06116 (2020) and Appl. Sci. 2021, 11, 672: 106 videos, five folds by video, "
        "sensitivity for COVID-19 by video 0.98 ± 0.04, specificity 0.91 ± 0.08; confidence against correctness, "
        "Pearson r 0.29 (dropout) and 0.41 (augmentation). No comparison possible: a part of the clips, groups instead "
        "of videos, a small network without ImageNet weights."
    )
    data = (
        "POCUS clips of the POCOVID-Net repository and COVID-BLUES (Wiedemann et al., IEEE JBHI 2025), under their own "
        "licences; no picture of them is shown. A class is a patient's diagnosis, not a frame's; classes come from "
        "different sources with different frame rates and containers, so that source tells class; groups are a "
        "guess on the safe side where the source gives none."
    )

    def run(self, setting: Setting) -> Sequence[str]:
        manifest = setting.data / "manifest.csv"
        folds = 3
        settings = Settings(
            epochs=20 if setting.full else 6, per_epoch=None if setting.full else 400, patience=None, keep="last",
            gamma=0.0, balance="image", flips=(1,),
        )  # fmt: skip
        size = 224 if setting.full else 112
        model = "resnet18"

        def trained(path: Path, name: str, doubt: bool) -> tuple[Images, Folds]:
            images = _frames(path, {"dataset": POCUS, "view_or_probe": "convex"}, size, setting)
            work = setting.work / name
            return images, train_frames(images, model, folds, settings, work, setting.progress, doubt)

        images, by_group = trained(manifest, "by_group", True)
        _, by_clip = trained(_by_clip(manifest, setting.work), "by_clip", False)
        blues = _severity(manifest, by_group, size, setting)
        return [
            _material(images, model, size, folds, settings),
            _tested({"groups": by_group, "clips (leaks)": by_clip}),
            _doubt(by_group),
            blues,
        ]


def _frames(path: Path, where: dict[str, str], size: int, setting: Setting, classes: Labelling | None = None) -> Images:
    labelling = classes or Labelling.classes(CLASSES)
    images, _ = load(
        Manifest.read(path, where),
        labelling,
        "ultrasound",
        {"size": [size, size]},
        parts="frames",
        cache=setting.work / "cache",
        progress=setting.progress.stage("decoding"),
    )
    return images


def _by_clip(manifest: Path, work: Path) -> Path:
    """The same table with every clip as a patient of its own."""
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    work.mkdir(parents=True, exist_ok=True)
    path = work / "by_clip.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        for row in rows:
            clip = row["file"]
            writer.writerow(row | {"file": str((manifest.parent / clip).resolve()), "patient_id": f"clip {clip}"})
    return path


def _material(images: Images, model: str, size: int, folds: int, settings: Settings) -> str:
    rows = counts(images)
    return f"""## Material

{table(("Class", "Groups", "Clips", "Frames"), rows)}

A group may hold clips of several classes. {model}, random first weights, {size} px, proportions kept, dropout 0.5 \
before the last layer, {settings.epochs} epochs of {settings.per_epoch or "all"} frames, the last one kept, \
cross-entropy, classes drawn equally often, images shifted, zoomed, turned, mirrored left to right and made noisier. \
{folds} folds: {rows[0][1]} groups with COVID-19 allow no more."""


def _tested(runs: dict[str, Folds]) -> str:
    rows = []
    for name, run in runs.items():
        rows.append((name, "frames", "", *_figures(run.scored)))
        rows += [(name, "clips", rule, *_figures(aggregate(run.scored, rule, "exam"))) for rule in RULES]
    header = (
        "Split by",
        "Of",
        "Pooled by",
        "n",
        "Accuracy",
        "Balanced accuracy",
        "COVID sensitivity",
        "COVID specificity",
    )
    return f"""## What the folds found

{table(header, rows)}

Intervals draw groups (of the split by clips: clips). The split by clips has clips of one patient, often nearly the \
same picture, on both sides; the difference is what such a split would have claimed too much."""


def _figures(scored: Scored) -> tuple[str, ...]:
    predicted = np.eye(len(scored.labels), dtype=bool)[scored.probabilities.argmax(axis=1)]
    draws = Bootstrap(scored.patients)
    classes = overall(scored.targets, scored.probabilities, predicted, draws, exclusive=True).classes
    covid = performance(
        "covid", scored.targets[:, 0], scored.probabilities[:, 0], scored.patients, 0.5, "most probable class",
        flagged=predicted[:, 0], bootstrap=draws,
    )  # fmt: skip
    at = covid.at_threshold
    return (
        str(len(scored)), told(classes["accuracy"]), told(classes["balanced_accuracy"]),
        told(at["sensitivity"]), told(at["specificity"]),
    )  # fmt: skip


def _doubt(run: Folds) -> str:
    right = (run.scored.probabilities.argmax(axis=1) == run.scored.targets.argmax(axis=1)).astype(float)
    draws = Bootstrap(run.scored.patients)
    rows = []
    for name, deviation, published in (
        ("dropout, 10 passes", run.dropout_sd, "0.29"),
        ("augmentation, 10 copies", run.augmentation_sd, "0.41"),
    ):
        sure = one_minus_two_sigma(deviation)
        found = draws.estimate(partial(pearson, sure, right))
        means = [
            f"{sure[right == is_right].mean():.3f}" if (right == is_right).any() else "none" for is_right in (1, 0)
        ]
        rows.append((name, told(found), published, *means))
    header = ("Confidence by", "Pearson r with being right", "Published", "Mean when right", "Mean when wrong")
    return f"""## Does the network know when it is wrong?

{table(header, rows)}

Frames, split by groups. Confidence is 1 less twice the standard deviation of the predicted class's probability. \
Copies are those of the training, without mirroring upside down, which the paper has."""


@dataclass(frozen=True)
class _Clip:
    patient: str
    severity: float
    probability: float


def _severity(manifest: Path, run: Folds, size: int, setting: Setting) -> str:
    labels = Labelling.classes({"covid": ("covid19",), "other": ("covid_negative_symptomatic",)})
    where = {"dataset": BLUES, "view_or_probe": "convex"}
    images = _frames(manifest, where, size, setting, labels)
    stated = Manifest.read(manifest, where)
    logits = [frame_logits(network, images) for network in run.networks]
    sick = np.mean([1 - _softmax(z)[:, 2] for z in logits], axis=0)  # not regular
    clips = []
    for row in np.unique(images.rows):
        told_of = stated.rows[int(row)]
        frames = images.rows == row
        clips.append(_Clip(told_of.patient_id, float(told_of.columns["severity_score"]), float(sick[frames].mean())))
    severity, score = np.array([c.severity for c in clips]), np.array([c.probability for c in clips])
    draws = Bootstrap([c.patient for c in clips])
    found = draws.estimate(partial(pearson, rankdata(severity), rankdata(score)))
    rows = [
        (f"{level:g}", int((severity == level).sum()), f"{score[severity == level].mean():.3f}")
        for level in np.unique(severity)
    ]
    return f"""## Severity on another data set

{len(clips)} clips of {len({c.patient for c in clips})} patients of COVID-BLUES, from which nothing was learned: the \
mean over folds and frames of the probability of not being regular, against the experts' severity score.

{table(("Severity", "Clips", "Mean probability of disease"), rows)}

Spearman's correlation {told(found)}, patients drawn (ranks of all clips are kept in each draw)."""


def _softmax(logits: Values) -> Values:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Values = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
