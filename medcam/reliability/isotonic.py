"""Isotonic calibration: the rising steps that fit best, of any shape, for data enough (Zadrozny & Elkan 2002)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.record import Record

Values = npt.NDArray[np.float64]

LEAST_EACH = 25
"""Calibration patients with the label, and as many without: fewer make steps of a handful of people."""
LEAST_PATIENTS = 100
"""Of both together. With fewer than some hundreds the two numbers of a scaling are the better estimate as a rule
(Niculescu-Mizil & Caruana 2005)."""


@dataclass(frozen=True)
class Steps(Record):
    """A rising curve through knots: level within a step, straight between two, level beyond the ends."""

    logits: tuple[float, ...]
    """Ascending: where each step begins and ends."""
    probabilities: tuple[float, ...]

    @classmethod
    def fit(cls, z: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Least squares by pooling adjacent violators, on smoothed targets.

        Targets are smoothed as Platt's are: of P images with the label and N without none counts as surer than
        (P + 1) / (P + 2) and 1 / (N + 2), so that no step is at 0 or 1.

        Args:
            z: (N,) logits; equal ones share a step.
            y: (N,) 0 or 1, both there.
        """
        from scipy.optimize import isotonic_regression

        logits, sick = np.asarray(z, np.float64), np.asarray(y, np.float64) > 0.5
        soft = np.where(sick, (sick.sum() + 1) / (sick.sum() + 2), 1 / ((~sick).sum() + 2))
        places, of = np.unique(logits, return_inverse=True)
        count = np.bincount(of).astype(np.float64)
        found = isotonic_regression(np.bincount(of, weights=soft) / count, weights=count)
        edges = np.unique(np.concatenate([found.blocks[:-1], found.blocks[1:] - 1]))  # first and last of each step
        values = np.round(found.x[edges], 12)  # steps that differ by rounding alone are one
        return cls(tuple(places[edges].tolist()), tuple(values.tolist()))

    def at(self, z: npt.ArrayLike) -> Values:
        """Probabilities of logits, of the same shape."""
        p: Values = np.interp(np.asarray(z, np.float64), self.logits, self.probabilities)
        return p

    @property
    def count(self) -> int:
        """Steps: different probabilities."""
        return len(set(self.probabilities))


def refuse_few(targets: npt.ArrayLike, patients: Sequence[str], labels: Sequence[str] = ()) -> None:
    """Nothing, where there are patients enough for every label that some have and some have not.

    Args:
        targets: (N, K) 0 or 1.
        patients: (N,); a patient has a label if one of the rows does.
        labels: (K,) for the message.

    Raises:
        UsageError: "too-few-patients".
    """
    y, names = np.asarray(targets) > 0.5, np.asarray(patients, dtype=object).astype(str)
    people = len(set(names))
    for k in range(y.shape[1]):
        has, lacks = len(set(names[y[:, k]])), len(set(names[~y[:, k]]))
        if has and lacks and (min(has, lacks) < LEAST_EACH or people < LEAST_PATIENTS):
            label = labels[k] if labels else f"label {k + 1}"
            raise UsageError(
                "too-few-patients",
                f"Isotonic calibration needs {LEAST_PATIENTS} calibration patients, {LEAST_EACH} with and {LEAST_EACH} "
                f"without {label}, not {people}, {has} and {lacks}; take --calibration scaling, or more patients.",
            )
