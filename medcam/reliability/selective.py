"""What is gained by referring the least certain cases: error over the share of cases that are kept.

Two conventions. "mean" is the mean over k of the error among the k most certain cases (Geifman & El-Yaniv 2017).
"trapezoid" integrates over coverage from 1 to 0, the last error extended to 0 (Jaeger 2023). Cases of equal confidence
are taken together: by "mean" their errors count as spread evenly over them, by "trapezoid" they are one point. A case
is a patient, or whatever else is referred as one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medcam.record import Record

Values = npt.NDArray[np.float64]
Convention = Literal["mean", "trapezoid"]


@dataclass(frozen=True)
class Curve:
    """By coverage, from the most certain cases only to all of them; one point for each confidence that occurs."""

    coverage: Values
    """Share of the cases that is kept."""
    risk: Values
    """Errors among the kept, over the kept."""
    generalised_risk: Values
    """Errors among the kept, over all cases (Traub 2024)."""
    confidence: Values
    """The least that is kept."""
    cases: int


@dataclass(frozen=True)
class OperatingPoint(Record):
    """What keeping this share of the cases means."""

    coverage: float
    risk: float
    confidence: float
    """Cases below it are referred."""
    referred: int


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> Curve:
    """The curve of N cases.

    Args:
        confidence: (N,), any order-preserving measure.
        correct: (N,) 0 or 1.
    """
    sure, errors = np.asarray(confidence, np.float64), 1 - np.asarray(correct, np.float64)
    levels, of = np.unique(-sure, return_inverse=True)
    kept = np.bincount(of).cumsum()
    wrong = np.bincount(of, weights=errors).cumsum()
    return Curve(kept / len(sure), wrong / kept, wrong / len(sure), -levels, len(sure))


def aurc(curve: Curve, convention: Convention = "mean") -> float:
    """Area under the risk-coverage curve: accuracy and ranking together."""
    return _area(curve, curve.risk, float(curve.risk[0]), convention, generalised=False)


def augrc(curve: Curve, convention: Convention = "mean") -> float:
    """Area under the generalised risk: the mean chance of an error that nobody referred."""
    return _area(curve, curve.generalised_risk, 0.0, convention, generalised=True)


def excess_aurc(curve: Curve) -> float:
    """AURC ("mean") above that of the best ranking at this accuracy: ranking alone."""
    wrong = round(float(curve.generalised_risk[-1]) * curve.cases)
    errors_last = np.repeat((0.0, 1.0), (curve.cases - wrong, wrong)).cumsum()
    return aurc(curve) - float((errors_last / np.arange(1, curve.cases + 1)).mean())


def at_coverage(curve: Curve, coverage: float) -> OperatingPoint:
    """Keep at least this share, and no more than equal confidences force."""
    return _point(curve, int(np.searchsorted(curve.coverage, coverage - 1e-12)))


def at_risk(curve: Curve, most: float) -> OperatingPoint | None:
    """Refer the fewest cases that leave at most this error among the kept; None if no number of them does."""
    fine = np.flatnonzero(curve.risk <= most + 1e-12)
    return _point(curve, int(fine[-1])) if len(fine) else None


def _point(curve: Curve, at: int) -> OperatingPoint:
    kept = round(float(curve.coverage[at]) * curve.cases)
    return OperatingPoint(
        float(curve.coverage[at]), float(curve.risk[at]), float(curve.confidence[at]), curve.cases - kept
    )


def _area(curve: Curve, risk: Values, at_zero: float, convention: Convention, generalised: bool) -> float:
    if convention == "trapezoid":
        return float(np.trapezoid([at_zero, *risk], [0.0, *curve.coverage]))
    k = np.arange(1, curve.cases + 1)
    errors = np.interp(k, np.r_[0, curve.coverage * curve.cases], np.r_[0, curve.generalised_risk * curve.cases])
    return float((errors / (curve.cases if generalised else k)).mean())
