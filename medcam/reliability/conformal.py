"""Split conformal sets by patient: the answers that hold the true one for 1 - alpha of new patients of each class.

A patient counts once, by the worst of its images, so that the set of every image of a new patient holds the truth with
that chance; n in the formulas is the number of patients (Angelopoulos & Bates 2023; Romano 2020 for APS). Averaged over
calibration samples, for patients like those: not for one patient, and not at another site.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.findings import ConformalSet
from medcam.record import Record
from medcam.reliability.calibration import Head

Values = npt.NDArray[np.float64]
Score = Literal["lac", "aps"]

BLOB = "configs/conformal.json"
"""Where a bundle keeps it."""


@dataclass(frozen=True)
class Conformal(Record):
    """Quantiles of the nonconformity of the true answer.

    A softmax head asks one question with K answers. Every label of the other heads is a question of its own with two
    answers: "no LABEL" and "LABEL". So of a single logit the set is any part of {no finding, finding}.
    """

    head: Head
    labels: tuple[str, ...]
    alpha: float
    score: Score
    by_class: bool
    """Quantiles of each class alone (Mondrian): the sick are covered as the healthy are, however few they are."""
    quantiles: tuple[tuple[float | None, ...], ...]
    """By question and answer. None is infinite: too few patients to leave this answer out of any set."""
    patients: tuple[tuple[int, ...], ...]
    """By question and answer: n of its quantile."""
    origin: str = ""

    def answers(self, question: int = 0) -> tuple[str, ...]:
        """The names a set of this question is made of."""
        return self.labels if self.head == "softmax" else (f"no {self.labels[question]}", self.labels[question])

    def set_of(self, probabilities: npt.ArrayLike, label: int = 0) -> ConformalSet:
        """The answers that cannot be left out.

        Args:
            probabilities: (K,) of one image, by the same calibration as those of `fit`.
            label: which of them is asked about.
        """
        question = 0 if self.head == "softmax" else label
        names, quantiles = self.answers(question), self.quantiles[question]
        scores = nonconformity(_questions(np.asarray(probabilities, np.float64)[None], self.head)[question], self.score)
        members = tuple(
            name
            for name, score, most in zip(names, scores[0], quantiles, strict=True)
            if most is None or score <= most + 1e-12
        )
        counts = self.patients[question]
        few = [f"{name} ({n})" for name, n, most in zip(names, counts, quantiles, strict=True) if most is None]
        needed = f"there are too few calibration patients, at least {least_patients(self.alpha)} are needed"
        note = f"can never leave out {' or '.join(few)}: {needed}" if few else ""
        return ConformalSet(members, self.labels[label], self.alpha, min(counts), note)

    def to_bytes(self) -> bytes:
        """For the bundle."""
        return json.dumps(self.to_dict(), indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` gave."""
        return cls.from_dict(json.loads(content))


def fit(
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: Sequence[str],
    alpha: float = 0.1,
    *,
    head: Head,
    labels: Sequence[str],
    score: Score = "lac",
    by_class: bool = True,
    origin: str = "",
) -> Conformal:
    """Learn the quantiles from patients that served for nothing else (the fit of the calibration map does little harm).

    Args:
        probabilities: (N, K), calibrated if screening will be.
        targets: (N, K), 0 or 1.
        patients: (N,).
        alpha: how often the true answer may be missing.
        score: "lac", the smallest sets, possibly empty; "aps", larger ones, never empty, that adapt to hard images.
        by_class: see `Conformal`.

    Raises:
        UsageError: "bad-alpha".
    """
    if not 0 < alpha < 1:
        raise UsageError("bad-alpha", f"alpha lies strictly between 0 and 1, not {alpha}; 0.1 makes 90 % sets.")
    p, y = (np.asarray(values, np.float64).reshape(len(patients), len(labels)) for values in (probabilities, targets))
    _, of = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    quantiles, counts = [], []
    for answers, truth in zip(_questions(p, head), _questions(y, head), strict=True):
        true, own = truth.argmax(axis=1), nonconformity(answers, score)[np.arange(len(p)), truth.argmax(axis=1)]
        groups = [true == c for c in range(truth.shape[1])] if by_class else [np.full(len(p), True)] * truth.shape[1]
        worst = [_worst(own[rows], of[rows]) for rows in groups]
        limits = [quantile(scores, alpha) for scores in worst]
        quantiles.append(tuple(limit if np.isfinite(limit) else None for limit in limits))
        counts.append(tuple(len(scores) for scores in worst))
    people = f"{of.max(initial=-1) + 1} calibration patients"
    return Conformal(
        head, tuple(labels), alpha, score, by_class, tuple(quantiles), tuple(counts), origin=origin or people
    )


def quantile(scores: npt.ArrayLike, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest score; infinite if n is smaller than that."""
    ordered = np.sort(np.asarray(scores, np.float64))
    rank = int(np.ceil((len(ordered) + 1) * (1 - alpha) - 1e-9))
    return float(ordered[rank - 1]) if rank <= len(ordered) else np.inf


def least_patients(alpha: float) -> int:
    """The smallest n with a finite quantile: 9 at alpha 0.1, 19 at 0.05, 99 at 0.01."""
    return int(np.ceil(1 / alpha - 1e-9)) - 1


def nonconformity(probabilities: npt.ArrayLike, score: Score) -> Values:
    """(N, C): how little each answer fits, without randomisation; equal rules at calibration and at screening."""
    p = np.asarray(probabilities, np.float64)
    if score == "lac":
        return 1 - p
    base, width, _ = aps_parts(p)
    return base + width


def aps_parts(
    probabilities: npt.ArrayLike, penalty: float = 0.0, free: int = 0
) -> tuple[Values, Values, npt.NDArray[np.float64]]:
    """(N, C) three times: what is more probable in sum, the answer's own probability, and the penalty of its rank.

    The APS score is base + width, or base + width (1 - U) with U uniform for exact coverage; RAPS adds the penalty
    (Angelopoulos 2021).

    Args:
        penalty: lambda of RAPS, for each rank beyond `free`.
    """
    p = np.asarray(probabilities, np.float64)
    order = np.argsort(-p, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1, kind="stable")  # from 0
    down = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
    through = np.take_along_axis(down, ranks, axis=1)
    return through - p, p, penalty * np.maximum(ranks + 1 - free, 0)


def outlier_p_value(calibration: npt.ArrayLike, score: float) -> float:
    """The chance, at most, that a patient like those of the calibration looks as novel as this."""
    scores = np.asarray(calibration, np.float64)
    return float((1 + (scores >= score).sum()) / (len(scores) + 1))


def lesion_threshold(heats: Sequence[Values], lesions: Sequence[npt.NDArray[np.bool_]], alpha: float = 0.1) -> float:
    """The highest heat at which maps may be cut so that on average at most alpha of a new case's lesion is missed.

    Conformal risk control (Angelopoulos 2024): the missed share rises with the cut; the greatest cut whose mean is at
    most ((n + 1) alpha - 1) / n.

    Args:
        heats: one map for each patient, all in one unit.
        lesions: where the lesion is, of the same shapes; none empty.

    Raises:
        UsageError: "too-few-patients": even at no missed pixel nothing can be promised.
    """
    bound = risk_bound(len(heats), alpha)
    if bound < -1e-12:
        needed = least_patients(alpha)
        raise UsageError("too-few-patients", f"A share missed of {alpha} needs {needed} patients, not {len(heats)}.")
    within = [np.sort(heat[lesion]) for heat, lesion in zip(heats, lesions, strict=True)]
    cuts = np.unique(np.concatenate(within))
    missed = np.mean([np.searchsorted(values, cuts, side="left") / len(values) for values in within], axis=0)
    return float(cuts[np.flatnonzero(missed <= bound + 1e-12)[-1]])  # at the least of all cuts nothing is missed


def risk_bound(patients: int, alpha: float) -> float:
    """What the mean loss over the calibration patients may be, so that it is at most alpha for a new one."""
    return ((patients + 1) * alpha - 1) / patients


def _questions(values: Values, head: Head) -> list[Values]:
    """(N, K) as one array (N, answers) for each question."""
    if head == "softmax":
        return [values]
    return [np.stack([1 - values[:, k], values[:, k]], axis=1) for k in range(values.shape[1])]


def _worst(scores: Values, of: npt.NDArray[np.intp]) -> Values:
    """The highest score of each patient that is there."""
    if not len(scores):
        return scores
    highest = np.full(of.max() + 1, -np.inf)
    np.maximum.at(highest, of, scores)
    return highest[np.isfinite(highest)]
