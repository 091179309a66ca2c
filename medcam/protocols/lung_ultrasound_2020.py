"""Explainable lung ultrasound (POCOVID-Net, 2020), with groups of patients kept apart."""

import csv
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

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
from medcam.protocols._frames import Folds, asked, counts, train_frames
from medcam.protocols._severity import LEAST_SURE, correlations, sure
from medcam.protocols.base import Protocol, Setting
from medcam.training._augmentation import Changes
from medcam.training._markdown import table, told
from medcam.training.settings import Settings

CLASSES = {"covid": ("covid19",), "pneumonia": ("bacterial_pneumonia",), "regular": ("healthy",)}
POCUS, BLUES = "POCUS (POCOVID-Net)", "COVID-BLUES"
PAPER = Changes(shift=0.1, zoom=0.0, turn=math.radians(10), gain=0.0, offset=0.0, noise=0.0)
"""The paper's augmentation, beside mirroring along both axes."""
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
        epochs = 20 if setting.full else 8
        settings = Settings(
            epochs=epochs, patience=None, keep="last", gamma=0.0, balance="image", flips=(0, 1), changes=PAPER
        )
        size = 224 if setting.full else 128
        model = "resnet18"

        def trained(path: Path, name: str, doubt: bool) -> tuple[Images, Folds]:
            images = _frames(path, {"dataset": POCUS, "view_or_probe": "convex"}, size, setting)
            work = setting.work / name
            return images, train_frames(images, model, folds, settings, work, setting.progress, doubt)

        images, by_group = trained(manifest, "by_group", True)
        _, by_clip = trained(_by_clip(manifest, setting.work), "by_clip", False)
        blues = _severity(manifest, by_group, settings, size, setting)
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
cross-entropy, classes drawn equally often, images changed as in the paper: turned by up to 10 degrees, shifted by up \
to 10 %, mirrored left to right and upside down, the border repeated. \
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
        ("augmentation, 10 copies, none upside down", run.upright_sd, ""),
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
Copies are those of the training, as in the paper. A lung is never seen upside down, so that such copies make doubt \
that is not the picture's: the last row is without them."""


def _severity(manifest: Path, run: Folds, settings: Settings, size: int, setting: Setting) -> str:
    labels = Labelling.classes({"covid": ("covid19",), "other": ("covid_negative_symptomatic",)})
    where = {"dataset": BLUES, "view_or_probe": "convex"}
    images = _frames(manifest, where, size, setting, labels)
    stated = Manifest.read(manifest, where)
    logits, *spreads = zip(*(asked(network, images, settings, upright=False) for network in run.networks), strict=True)
    probabilities = np.mean([_softmax(z) for z in logits], axis=0)  # (frames, classes)
    confidence = np.mean([one_minus_two_sigma(sd) for sds in spreads[:2] for sd in sds], axis=0)
    kept = sure(confidence)
    clips = [row for row in np.unique(images.rows) if (kept & (images.rows == row)).any()]
    frames = [np.flatnonzero(kept & (images.rows == row)) for row in clips]
    rows = [stated.rows[int(row)] for row in clips]
    severity = np.array([float(row.columns["severity_score"]) for row in rows])
    covid = np.array([probabilities[own, 0].mean() for own in frames])
    sick = np.array([1 - probabilities[own, 2].mean() for own in frames])  # not regular
    called = np.array([np.bincount(probabilities[own].argmax(axis=1), minlength=3).argmax() == 0 for own in frames])
    positive = np.array([row.label == "covid19" for row in rows])
    patients = [row.patient_id for row in rows]
    scores = {"COVID-19": covid, "not regular": sick}
    found = {name: correlations(score, severity, patients) for name, score in scores.items()}
    levels = [
        (f"{level:g}", int((severity == level).sum()), *(f"{s[severity == level].mean():.3f}" for s in scores.values()))
        for level in np.unique(severity)
    ]
    rs = [(name, told(one.clips), told(one.between), told(one.within)) for name, one in found.items()]
    people, several = found["COVID-19"].several
    return f"""## Severity on another data set

{len(clips)} clips of {len(set(patients))} patients of COVID-BLUES, from which nothing was learned. As in the paper, \
the frames below the {LEAST_SURE:.0%} quantile of confidence (the mean of dropout and augmentation over the folds; \
{int((~kept).sum())} of {len(kept)} frames) are left out, and a clip's probability is the mean over folds and frames.

{table(("Severity (experts, 0 to 3)", "Clips", "Mean P(COVID-19)", "Mean P(not regular)"), levels)}

{table(("Pearson r of severity with P", "Over clips", "Between patients", "Within patients"), rs)}

Patients were drawn. Within: of the clips' differences from their patient's means, to which only the {several} clips \
of {people} patients with clips of different severity can contribute. No frame has a severity of its own.

By the majority of the frames that are left, COVID-19 is said of {int((called & positive).sum())} of \
{int(positive.sum())} clips of patients with a positive PCR, and of {int((called & ~positive).sum())} of \
{int((~positive).sum())} of symptomatic patients with a negative one."""


def _softmax(logits: Values) -> Values:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Values = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
