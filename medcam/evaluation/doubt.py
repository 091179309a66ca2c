"""Does a measure of confidence tell which answers are wrong? Correlation, and the gain of referring the least sure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Values, of_rows
from medcam.evaluation.curves import Curve, risk_by_coverage
from medcam.record import Record
from medcam.reliability.selective import OperatingPoint, at_coverage, augrc, aurc, excess_aurc, risk_coverage

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class Doubt(Record):
    """One measure of confidence against right and wrong. Areas by the "mean" convention of `reliability.selective`."""

    method: str
    what: str
    """What is right or wrong: a label, or the class."""
    cases: int
    errors: int
    confidence_right: float | None
    """Mean over the cases that are right."""
    confidence_wrong: float | None
    correlation: Estimate
    """Pearson's r of confidence and correctness (0 or 1), by patient bootstrap."""
    aurc: Estimate
    augrc: float
    excess_aurc: float
    referring: tuple[OperatingPoint, ...]
    """The error that is left at `COVERAGES`."""
    curve: Curve
    """Error over coverage."""


def doubt(
    method: str,
    what: str,
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    bootstrap: Bootstrap,
) -> Doubt:
    """All figures of one measure of confidence.

    Args:
        method, what: its name and that of what it doubts.
        confidence: (N,) more is surer.
        correct: (N,) 0 or 1.
        bootstrap: draws of the N rows' patients.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct).astype(bool)
    curve = risk_coverage(sure, right)

    def area(rows: npt.NDArray[np.intp]) -> float:
        return aurc(risk_coverage(sure[rows], right[rows]))

    return Doubt(
        method=method,
        what=what,
        cases=len(sure),
        errors=int((~right).sum()),
        confidence_right=float(sure[right].mean()) if right.any() else None,
        confidence_wrong=float(sure[~right].mean()) if not right.all() else None,
        correlation=bootstrap.estimate(lambda weights: pearson(sure, right, weights)),
        aurc=bootstrap.estimate(of_rows(area)),
        augrc=augrc(curve),
        excess_aurc=excess_aurc(curve),
        referring=tuple(at_coverage(curve, coverage) for coverage in COVERAGES),
        curve=risk_by_coverage(sure, right),
    )


def pearson(first: npt.ArrayLike, second: npt.ArrayLike, weights: Values) -> Values:
    """Pearson's correlation of (N,) and (N,) for weights (D, N): (D,), NaN where one of them does not vary."""
    share = weights / weights.sum(axis=1, keepdims=True)
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    x, y = x - x.mean(), y - y.mean()  # keeps the differences of squares below exact
    means = share @ x, share @ y
    covariance = share @ (x * y) - means[0] * means[1]
    spread = [share @ (value * value) - mean**2 for value, mean in zip((x, y), means, strict=True)]
    varies = np.minimum(*spread) > 1e-15
    return np.where(varies, covariance / np.sqrt(np.where(varies, spread[0] * spread[1], 1.0)), np.nan)


def one_minus_two_sigma(deviation: npt.ArrayLike) -> Values:
    """Confidence in [0, 1] from the standard deviation of a score in [0, 1], which is 0.5 at most (Born et al. 2020).

    It is 1 for a network that is always wrong in the same way: no probability.
    """
    confidence: Values = 1 - 2 * np.clip(np.asarray(deviation, np.float64), 0, 0.5)
    return confidence


def distance_from_threshold(scores: npt.ArrayLike, threshold: npt.ArrayLike) -> Values:
    """Confidence in a yes or no: how many logits a score lies from where the answer would change."""
    p, t = (np.clip(np.asarray(value, np.float64), 1e-12, 1 - 1e-12) for value in (scores, threshold))
    distance: Values = np.abs(np.log(p) - np.log1p(-p) - np.log(t) + np.log1p(-t))
    return distance


def compare(doubts: Mapping[str, npt.ArrayLike], correct: npt.ArrayLike, patients: Sequence[str]) -> Estimate:
    """Difference of two measures' correlations with correctness, first less second, drawing patients for both at once.

    Args:
        doubts: two measures of confidence by name, (N,) each.
        correct: (N,) 0 or 1.
        patients: (N,).
    """
    one, two = doubts.values()
    return Bootstrap(patients).estimate(lambda w: pearson(one, correct, w) - pearson(two, correct, w))
