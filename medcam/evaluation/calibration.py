"""Do stated probabilities come true? ECE, Brier and NLL of one label, with intervals by patient."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Values
from medcam.record import Record
from medcam.reliability.calibration_error import Bins, Brier, brier, equal_mass, equal_width, expected_by_chance, nll

BINS = 10


@dataclass(frozen=True)
class Calibrated(Record):
    """How far the probabilities of one label are from its frequency."""

    label: str
    cases: int
    stated: float
    """Mean probability."""
    came_true: float
    """Prevalence."""
    bins: Bins
    """Of equal width, for the plot."""
    ece: Estimate
    """Over these bins. Biased upwards, in draws even more: see `ece_by_chance`."""
    ece_by_chance: float
    """What perfect probabilities would have here, because there are only so many cases."""
    adaptive_ece: float
    """Over bins of equally many cases."""
    brier: Estimate
    brier_parts: Brier
    nll: float
    """In nats."""


def calibrated(label: str, targets: npt.ArrayLike, probabilities: npt.ArrayLike, bootstrap: Bootstrap) -> Calibrated:
    """The figures of one label.

    Args:
        label: its name.
        targets: (N,) 0 or 1.
        probabilities: (N,).
        bootstrap: draws of the N rows' patients.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    found = bootstrap.estimates({"ece": lambda w: ece(p, y, w), "brier": lambda w: w @ (p - y) ** 2 / w.sum(axis=1)})
    return Calibrated(
        label=label,
        cases=len(p),
        stated=float(p.mean()),
        came_true=float(y.mean()),
        bins=equal_width(p, y, BINS),
        ece=found["ece"],
        ece_by_chance=expected_by_chance(p, BINS),
        adaptive_ece=equal_mass(p, y, BINS).ece,
        brier=found["brier"],
        brier_parts=brier(p, y, BINS),
        nll=nll(p[:, None], y[:, None]),
    )


def ece(p: Values, y: Values, weights: Values, bins: int = BINS) -> Values:
    """Expected calibration error over bins (lo, hi] of equal width, for weights (D, N): (D,)."""
    of = np.eye(bins)[np.clip(np.ceil(p * bins).astype(np.intp) - 1, 0, bins - 1)]  # (N, bins)
    gaps: Values = np.abs(weights @ (of * (p - y)[:, None])).sum(axis=1) / weights.sum(axis=1)
    return gaps
