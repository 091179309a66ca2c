"""Do stated probabilities come true? ECE, Brier and NLL of one label, with intervals by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Values
from medcam.evaluation.performance import proportion
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
    bin_intervals: tuple[Estimate, ...]
    """What came true in each bin, by the number of its patients."""
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


def calibrated(
    label: str,
    targets: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    patients: Sequence[str],
    bootstrap: Bootstrap,
) -> Calibrated:
    """The figures of one label.

    Args:
        label: its name.
        targets: (N,) 0 or 1.
        probabilities: (N,).
        patients: (N,) whom each case shows; `bootstrap` draws them.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    of, names = _bins(p, BINS), np.asarray(patients, dtype=str)
    found = bootstrap.estimates({"ece": lambda w: ece(p, y, w), "brier": lambda w: w @ (p - y) ** 2 / w.sum(axis=1)})
    return Calibrated(
        label=label,
        cases=len(p),
        stated=float(p.mean()),
        came_true=float(y.mean()),
        bins=equal_width(p, y, BINS),
        bin_intervals=tuple(_bin(y[of == number], names[of == number]) for number in np.unique(of)),
        ece=found["ece"],
        ece_by_chance=expected_by_chance(p, BINS),
        adaptive_ece=equal_mass(p, y, BINS).ece,
        brier=found["brier"],
        brier_parts=brier(p, y, BINS),
        nll=nll(p[:, None], y[:, None]),
    )


def ece(p: Values, y: Values, weights: Values, bins: int = BINS) -> Values:
    """Expected calibration error over bins (lo, hi] of equal width, for weights (D, N): (D,)."""
    of = np.eye(bins)[_bins(p, bins)]  # (N, bins)
    gaps: Values = np.abs(weights @ (of * (p - y)[:, None])).sum(axis=1) / weights.sum(axis=1)
    return gaps


def _bins(p: Values, bins: int) -> npt.NDArray[np.intp]:
    """The bin (lo, hi] of each probability; the first one takes 0 too."""
    return np.clip(np.ceil(p * bins).astype(np.intp) - 1, 0, bins - 1)


def _bin(came_true: Values, patients: npt.NDArray[np.str_]) -> Estimate:
    return proportion(int(came_true.sum()), len(came_true), len(set(patients)))
