"""Two models on the same patients: is one better than chance would make it look?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Values
from medcam.evaluation.classification import Ranked
from medcam.evaluation.delong import Z, covariance
from medcam.record import Record


@dataclass(frozen=True)
class Discordance(Record):
    """On which cases exactly one of two models is right."""

    cases: int
    only_first: int
    only_second: int
    p: float
    """Two-sided; small if the models are unlikely to be equally often right."""
    method: str


@dataclass(frozen=True)
class Comparison(Record):
    """Two models for one label; differences are first minus second."""

    label: str
    cases: int
    patients: int
    first: float | None
    """AUROC."""
    second: float | None
    difference: Estimate
    """Of the AUROCs, with DeLong's interval."""
    p: float | None
    """DeLong's; None where it is not defined."""
    difference_bootstrap: Estimate
    correct: Discordance
    """Over all cases, at each model's own threshold."""
    correct_sick: Discordance
    """Over the sick ones: sensitivity."""
    correct_healthy: Discordance
    """Over the healthy ones: specificity."""


def compare(
    label: str,
    targets: npt.ArrayLike,
    first: Values,
    second: Values,
    flagged: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    patients: Sequence[str],
    bootstrap: Bootstrap,
) -> Comparison:
    """Everything about one label.

    Args:
        label: its name.
        targets: (N,) 0 or 1.
        first, second: (N,) scores.
        flagged: (N,) decisions of either model.
        patients: (N,) whom each row shows; `bootstrap` draws them.
    """
    sick = np.asarray(targets).astype(bool)
    difference, p = delong(sick, first, second, patients)
    one, two = Ranked(sick, first), Ranked(sick, second)
    right = [decision == sick for decision in flagged]

    def among(rows: npt.NDArray[np.bool_]) -> Discordance:
        names = [patient for patient, is_in in zip(patients, rows, strict=True) if is_in]
        return mcnemar(right[0][rows], right[1][rows], names)

    areas = [ranked.auroc(np.ones((1, len(sick))))[0] for ranked in (one, two)]
    return Comparison(
        label=label,
        cases=len(sick),
        patients=len(set(patients)),
        first=float(areas[0]) if np.isfinite(areas[0]) else None,
        second=float(areas[1]) if np.isfinite(areas[1]) else None,
        difference=difference,
        p=p,
        difference_bootstrap=bootstrap.estimate(lambda weights: one.auroc(weights) - two.auroc(weights)),
        correct=among(np.ones(len(sick), dtype=bool)),
        correct_sick=among(sick),
        correct_healthy=among(~sick),
    )


def delong(
    labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, patients: Sequence[str] | None = None
) -> tuple[Estimate, float | None]:
    """Difference of two AUROCs on the same rows, with its 95 % interval, and the two-sided p that it is none.

    Args:
        labels: (N,) 0 or 1.
        first, second: (N,) scores.
        patients: (N,) rows of one patient may be alike; by default every row is a patient.
    """
    method = "DeLong" if patients is None or len(set(patients)) == len(patients) else "clustered DeLong"
    try:
        areas, matrix = covariance(labels, np.stack([np.asarray(first), np.asarray(second)]), patients)
    except ValueError:
        return Estimate(None, method=method), None
    value = float(areas[0] - areas[1])
    variance = float(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    if not variance > 1e-18:  # also where it is not defined
        return Estimate(value, method=method), 1.0 if value == 0 and variance == variance else None
    half = Z * math.sqrt(variance)
    return Estimate(value, value - half, value + half, method), math.erfc(abs(value) / math.sqrt(2 * variance))


def mcnemar(
    first_right: npt.ArrayLike, second_right: npt.ArrayLike, patients: Sequence[str] | None = None
) -> Discordance:
    """Are two models right equally often? Exact McNemar; with several cases of a patient, his are taken together.

    If the models were alike, for each patient they could be exchanged: the sum over patients of (cases that only the
    first model has right) - (only the second) would be as likely with any signs. All signs are counted, exactly. With
    one case per patient this is the binomial test of McNemar (1947).

    Args:
        first_right, second_right: (N,) whether each model is right.
        patients: (N,) by default every row is a patient.
    """
    one, two = np.asarray(first_right).astype(bool), np.asarray(second_right).astype(bool)
    names = np.arange(len(one)).astype(str) if patients is None else np.asarray(patients, dtype=str)
    number = np.unique(names, return_inverse=True)[1]
    net = np.bincount(number, weights=one.astype(float) - two).astype(int) if len(one) else np.zeros(0, int)
    sums = np.ones(1)  # chance of each sum, from -reach to reach
    for step in np.abs(net[net != 0]):
        apart = np.zeros(2 * step + 1)
        apart[[0, -1]] = 0.5
        sums = np.convolve(sums, apart)
    reach = len(sums) // 2
    as_far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(net.sum()))
    alone = patients is None or len(set(names)) == len(names)
    return Discordance(
        cases=len(one),
        only_first=int((one & ~two).sum()),
        only_second=int((~one & two).sum()),
        p=float(min(1.0, sums[as_far].sum())),
        method="exact McNemar" if alone else "exact McNemar, signs exchanged by patient",
    )
