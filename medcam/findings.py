"""What medcam says about a series: prediction, explanation, uncertainty, regions, decision, and what a human said back.

All records are frozen and serialisable; the arrays of an explanation are kept beside the JSON.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcam.grid import Grid
from medcam.record import Record
from medcam.study import Kind, Reason

Unit = Literal["logit", "score drop", "arbitrary"]
Outcome = Literal["flagged", "not flagged", "refer"]
Doubt = Literal[
    "near the threshold", "set of several answers", "empty set", "set against the threshold",
    "unlike anything trained on", "networks disagree",
]  # fmt: skip
"""Why a case is referred, in kinds that can be counted."""
Agreement = Literal["accept", "reject", "unsure"]

PROJECTIONS = ("CR", "DX", "DR", "MG", "RF", "XA", "RG", "PX", "IO")
"""Modalities whose millimetres are those of the detector, not of the patient."""

DISAGREEING = 0.2
"""From this share of networks on the other side of the threshold on, a case is referred."""

CAPTION = "Shows what influenced the score, not the outline of a lesion."


@dataclass(frozen=True)
class ConformalSet(Record):
    """Answers that cannot be excluded: for 1 - alpha of patients like those of the calibration they hold the truth."""

    members: tuple[str, ...]
    """Of "no FINDING" and "FINDING", or of the classes of a softmax. None of them: no calibration patient was like
    this."""
    finding: str
    """The answer that is the finding."""
    alpha: float
    patients: int
    """Calibration patients with the rarest answer."""
    note: str = ""
    """Which answer the set can never leave out, for want of patients."""

    @property
    def name(self) -> str:
        """What it is called, with its coverage."""
        return f"{100 * (1 - self.alpha):.4g} % conformal set"

    @property
    def text(self) -> str:
        """The set in words."""
        held = " or ".join(self.members) or "empty, unlike the calibration patients"
        return f"{held}; it {self.note}" if self.note else held


@dataclass(frozen=True)
class Neighbour(Record):
    """A training case that looks similar to the network, by hashed names: whoever has the bundle's data can find it."""

    patient: str
    file: str
    present: bool
    """Whether it has the finding."""
    agrees: bool
    """The network said the same about it as about this image, and was right."""
    distance: float

    @property
    def text(self) -> str:
        """What it was."""
        agrees = "agrees" if self.agrees else "does not agree"
        return f"{'with' if self.present else 'without'} the finding, {agrees}"


@dataclass(frozen=True)
class Judged(Record):
    """How well the training cases support one prediction (similarity, distance, magnitude; Schmaltz 2025)."""

    similarity: int
    """How many of the nearest training cases agree before the first that does not."""
    distance: float
    """In [0, 1]: share of calibration images, of the less favourable answer, that lie at least as far from training."""
    nearest: float
    """Distance to the nearest training case of another patient, in whitened features."""
    limit: float | None
    """The nearest distance beyond which an image is unlike anything trained on; None: too few patients to say."""
    score: float
    """Support, a lower bound: 0 is none."""
    least: float | None
    """Support from which the calibration predictions were right in every class; None: no such region."""
    novel: bool
    trained_on: bool
    """Images of this very patient were used for training; they are left out of everything above."""
    neighbours: tuple[Neighbour, ...]
    """Nearest first."""

    @property
    def text(self) -> str:
        """Support in words."""
        agreeing = sum(neighbour.agrees for neighbour in self.neighbours)
        where = f"{'outside' if self.novel else 'within'} the training range"
        if self.limit is None:
            where = "training range not known, for want of calibration patients"
        own = "; this patient's own images were used for training" if self.trained_on else ""
        least = "no support is enough" if self.least is None else f"reliable from {self.least:.2f}"
        near = f"{agreeing} of the {len(self.neighbours)} nearest training cases agree"
        return f"{near}, {where}; support {self.score:.2f} ({least}){own}"


@dataclass(frozen=True)
class Prediction(Record):
    """The score of one finding on one series."""

    finding: str
    score: float
    """In [0, 1]. Called by `score_name` wherever it is shown: without calibration it is not a probability."""
    logit: float
    threshold: float
    threshold_origin: str
    """Where the threshold came from, e.g. "Youden on 60 validation phantoms"."""
    score_name: str = "uncalibrated score"
    part_scores: tuple[float, ...] = ()
    """Scores of frames or tiles before they were pooled; empty where the series was scored whole."""
    part_weights: tuple[float, ...] = ()
    """How much the model attends to each of them: shares of the series' logit, 1 together; empty without attention."""
    pooling: str = ""
    conformal_set: ConformalSet | None = None
    """None where the bundle holds no calibration patients."""
    support: Judged | None = None
    """None where the bundle holds no training cases."""


@dataclass(frozen=True)
class Uncertainty(Record):
    """How far the score moves when the input or the network is disturbed."""

    method: str
    scores: Mapping[str, float]
    """Score by name of the disturbance."""
    score_sd: float | None
    """None where it was not measured."""
    entropy: float | None = None
    """Of the mean score of several networks, in nats: all their doubt. None where only the image was disturbed."""
    aleatoric: float | None = None
    """Mean entropy of each network's own score: doubt that the networks share."""
    epistemic: float | None = None
    """The rest, mutual information: doubt that more training cases could take away."""
    map_agreement: float | None = None
    """Mean overlap (intersection over union) of where the disturbed maps are at least half as strong as their mean's
    peak; None where there are no maps to compare."""

    @property
    def name(self) -> str:
        """What is measured: changes of the image mix fragility and ambiguity, networks show doubt."""
        names = {
            "augmentation": "augmentation variability",
            "dropout": "Monte-Carlo dropout",
            "ensemble": "deep ensemble",
        }
        return names.get(self.method, self.method)

    @property
    def parts(self) -> tuple[str, ...]:
        """What else was measured, in words."""
        said = []
        if self.entropy is not None and self.aleatoric is not None and self.epistemic is not None:
            shared = f"{self.aleatoric:.3f} aleatoric (the networks share it)"
            said.append(f"entropy {self.entropy:.3f} nats, {shared} and {self.epistemic:.3f} epistemic (they differ)")
        if self.map_agreement is not None:
            said.append(f"the maps overlap by {self.map_agreement:.0%}")
        return tuple(said)


@dataclass(frozen=True)
class Explanation(Record):
    """Evidence for one finding at the layer's own resolution, and where its cells lie."""

    method: str
    layer: str
    target: str
    unit: Unit
    signed: bool
    class_specific: bool
    grid: Grid
    """Of the evidence: cells sit where their receptive fields are."""
    input_grid: Grid
    """Of the model's input: outside of it nothing was looked at."""
    evidence: npt.NDArray[np.float32]
    """(*grid.shape), raw."""
    spread: npt.NDArray[np.float32] | None = None
    """(*grid.shape): standard deviation of the evidence over the disturbances, in the same unit."""
    display_range: tuple[float, float] = (0.0, 1.0)
    """Evidence values shown as no colour and full colour: one range for the whole series."""
    alignment: str = "composed"
    """How the cells' places were had: "composed" (kernel, stride, padding), "measured" (a probe) or "assumed"."""
    notes: tuple[str, ...] = ()
    """What the reader of the map must know, e.g. that it is empty."""


@dataclass(frozen=True)
class Region(Record):
    """A connected part of the evidence above a threshold, on the grid of the source series."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    """Box on the source grid, [start, stop) per axis."""
    peak: tuple[int, ...]
    """Source index of the strongest evidence."""
    peak_value: float
    mass: float
    """Share of the series' positive evidence that lies in the region."""
    threshold: float
    """Evidence value at which the region was cut out."""
    size_mm: tuple[float, ...] | None = None
    """Of the box along its spatial axes; None where millimetres are not known."""
    centre_mm: tuple[float, float, float] | None = None
    """Of the box: RAS in patient space, (x, y, 0) on a detector."""
    interval_s: tuple[float, float] | None = None
    """Of a cine: from the first frame's beginning to the last frame's end."""


@dataclass(frozen=True)
class Decision(Record):
    """What the score means for the worklist. "not flagged" never means normal."""

    outcome: Outcome
    reasons: tuple[str, ...]
    demonstration: bool = False
    """A demonstration model looked at something else than a phantom."""
    doubts: tuple[Doubt, ...] = ()
    """Of a referred case the kind of each reason."""
    outdated: str = ""
    """Why this is not about what the source holds now; "" as far as is known it is."""

    @property
    def text(self) -> str:
        """The words to show: a demonstration model decides nothing about a patient, and an old result nothing now."""
        if self.outdated:
            return "outdated"
        return "demonstration only" if self.demonstration else self.outcome


@dataclass(frozen=True)
class KeyImage(Record):
    """A display copy of one source plane, kept in the case's folder."""

    index: int | None
    """Slice or frame on the source grid; None for an image or slide."""
    file: str
    """PNG in the case's folder, the whole plane at `window`, never with an overlay."""
    window: tuple[float, float] | None
    caption: str
    grid: Grid | None = None
    """Of the picture where it is not the source plane at full resolution: a slide's overview."""


@dataclass(frozen=True)
class LeftOut(Record):
    """A series of the same study that this pipeline did not score, and why."""

    description: str
    reason: Reason


@dataclass(frozen=True)
class Provenance(Record):
    """Enough to repeat the result: what ran, on which bytes, in which steps."""

    medcam_version: str
    libraries: Mapping[str, str]
    pipeline: str
    pipeline_hash: str
    model: str
    model_version: str
    model_hash: str
    source_hash: str
    """SHA-256 over the SHA-256 of each source file, in array order."""
    steps: tuple[str, ...]
    """From stored value to model input, in order."""
    device: str
    created: str
    """UTC, ISO 8601."""
    seed: int = 0


@dataclass(frozen=True)
class Case(Record):
    """One pipeline's answer about one series: the unit of review and report."""

    key: str
    study_key: str
    patient_key: str
    pipeline: str
    question: str
    finding: str
    modality: str
    kind: Kind
    facts: Mapping[str, str]
    grid: Grid
    """Of the source series."""
    phantom: bool
    prediction: Prediction
    uncertainty: Uncertainty
    explanation: Explanation
    regions: tuple[Region, ...]
    decision: Decision
    key_images: tuple[KeyImage, ...]
    selection: str
    """Why this series was taken."""
    left_out: tuple[LeftOut, ...]
    limits: str
    provenance: Provenance
    codes: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Coded concepts (value, scheme, meaning) by role: finding, site."""

    @property
    def frame_times_s(self) -> tuple[float, ...] | None:
        """When each frame of a cine begins; None where the source states no frame rate, so that no seconds are told."""
        return None if self.facts.get("FrameTimesFrom") == "none" else self.grid.frame_times_s

    @property
    def where(self) -> str:
        """Where the strongest evidence lies, in the words of the modality."""
        return place(self)


def place(case: Case) -> str:
    """The peak region in a few words: slice or seconds, size and share of the evidence."""
    if not case.regions:
        return "no region"
    region = case.regions[0]
    words = []
    if case.kind == "volume":
        words.append(f"slices {region.start[0] + 1}-{region.stop[0]}, peak {region.peak[0] + 1}")
    if case.kind == "cine":
        seconds = "" if region.interval_s is None else f"{region.interval_s[0]:.1f}-{region.interval_s[1]:.1f} s, "
        words.append(f"{seconds}frames {region.start[0] + 1}-{region.stop[0]}, peak {region.peak[0] + 1}")
    row, column = region.peak[-2:]
    words.append(f"row {row}, column {column}")
    if region.size_mm is not None:
        at = " at the detector" if case.modality in PROJECTIONS else ""
        words.append(" x ".join(f"{size:.2g}" if size < 1 else f"{size:.0f}" for size in region.size_mm) + f" mm{at}")
    return ", ".join(words)


@dataclass(frozen=True)
class Verdict(Record):
    """What one reader said about one case, once; later verdicts are new rows."""

    case_key: str
    reader: str
    agreement: Agreement
    reason: str = ""
    comment: str = ""
    time: str = ""
    """UTC, ISO 8601."""
    model_version: str = ""
    model_hash: str = ""
    first_read: str = ""
    """Before the AI was shown: "present", "absent" or "uncertain", locked before the reveal; "" if not asked."""


@dataclass(frozen=True)
class Refusal(Record):
    """A series that a pipeline was asked about and did not score."""

    study_key: str
    series_key: str
    pipeline: str
    description: str
    status: Literal["skipped", "refused", "failed"]
    reason: Reason


def plus_minus(score: float, score_sd: float | None, digits: int = 3) -> str:
    """A score with its spread, or alone where the spread was not measured."""
    return f"{score:.{digits}f}" + ("" if score_sd is None else f" ± {score_sd:.{digits}f}")


def decide(
    prediction: Prediction, uncertainty: Uncertainty, demonstration: bool, refer_within: float = 1.0
) -> Decision:
    """Flag from the threshold on; refer, with every reason there is, what should not be decided by it.

    Reasons to refer: the disturbed scores straddle the threshold; the conformal set holds several answers, none, or
    another than the threshold gives; the image is unlike anything trained on; networks disagree.

    Args:
        demonstration: a demonstration model looked at something else than a phantom.
        refer_within: refer when the score lies within this many score SDs of the threshold.
    """
    name, score, threshold = prediction.score_name, prediction.score, prediction.threshold
    differs = (digits for digits in range(3, 18) if f"{score:.{digits}f}" != f"{threshold:.{digits}f}")
    shown = next(differs, 3)  # so that the words never contradict the decision
    reasons: list[tuple[Doubt, str]] = []
    if uncertainty.score_sd and abs(score - threshold) < refer_within * uncertainty.score_sd:
        near = f"within one SD ({uncertainty.score_sd:.3f}) of the threshold {threshold:.{shown}f}"
        reasons.append(("near the threshold", f"{name} {score:.{shown}f} is {near}"))
    reasons += [*_undecided(prediction), *_unsupported(prediction), *_disagreeing(prediction, uncertainty)]
    if reasons:
        kinds, words = zip(*reasons, strict=True)
        return Decision("refer", words, demonstration, kinds)
    relation = "at or above" if score >= threshold else "below"
    why = f"{name} {score:.{shown}f} is {relation} the threshold {threshold:.{shown}f}"
    return Decision("flagged" if score >= threshold else "not flagged", (why,), demonstration)


def _undecided(prediction: Prediction) -> Iterator[tuple[Doubt, str]]:
    """The conformal set does not say the same as the threshold."""
    found = prediction.conformal_set
    if found is None:
        return
    above, held = prediction.score >= prediction.threshold, found.finding in found.members
    if not found.members:
        yield "empty set", f"the {found.name} is empty: no answer fits as it fits the calibration patients"
    elif held and len(found.members) > 1:
        want = ", for want of calibration patients" if found.note else ""
        yield "set of several answers", f"the {found.name} holds {' and '.join(found.members)}{want}"
    elif held != above:
        side = "at or above" if above else "below"
        only = f"the {found.name} holds only {' and '.join(found.members)}"
        yield "set against the threshold", f"{only}, but the score is {side} the threshold"


def _unsupported(prediction: Prediction) -> Iterator[tuple[Doubt, str]]:
    support = prediction.support
    if support is not None and support.novel:
        distance = f"nearest case at {support.nearest:.3g}, training range up to {support.limit:.3g}"
        yield "unlike anything trained on", f"unlike anything trained on: {distance}"


def _disagreeing(prediction: Prediction, uncertainty: Uncertainty) -> Iterator[tuple[Doubt, str]]:
    """Where members are networks, each has a vote."""
    if uncertainty.epistemic is None:
        return
    side, scores = prediction.score >= prediction.threshold, uncertainty.scores.values()
    others = sum((score >= prediction.threshold) != side for score in scores)
    if others >= DISAGREEING * len(scores):
        where = f"{others} of {len(scores)} networks ({uncertainty.method}) fall on the other side of the threshold"
        yield "networks disagree", where


def summary(case: Case) -> dict[str, Any]:
    """One row of a table about a case."""
    return {
        "case": case.key,
        "pipeline": case.pipeline,
        "finding": case.finding,
        "modality": case.modality,
        "decision": case.decision.text,
        "score": case.prediction.score,
        "score_sd": case.uncertainty.score_sd,
        "where": case.where,
    }
