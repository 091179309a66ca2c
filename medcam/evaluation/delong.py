"""Variance of the AUROC without drawing: DeLong, DeLong & Clarke-Pearson (1988), by patient as in Obuchowski (1997)."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Estimate, Values

Z = 1.959964
"""The normal quantile of 97.5 %."""


def area(labels: npt.ArrayLike, scores: npt.ArrayLike, patients: Sequence[str] | None = None) -> Estimate:
    """AUROC with its 95 % interval on the logit scale, which stays within [0, 1].

    Without interval where there is none: at an AUROC of 0 or 1, or with one patient of a class.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) any order-preserving score.
        patients: (N,) rows of one patient may be alike; by default every row is a patient.
    """
    method = "DeLong" if patients is None or len(set(patients)) == len(patients) else "clustered DeLong"
    sick = np.asarray(labels).astype(bool)
    if sick.all() or not sick.any():
        return Estimate(None, method=method)
    areas, matrix = covariance(labels, np.asarray(scores, np.float64)[None], patients)
    value, variance = float(areas[0]), float(matrix[0, 0])
    if not 0 < value < 1 or not variance > 0:
        return Estimate(value, method=method)
    middle, half = math.log(value / (1 - value)), Z * math.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-end)) for end in (middle - half, middle + half))
    return Estimate(value, low, high, method)


def covariance(
    labels: npt.ArrayLike, scores: npt.ArrayLike, patients: Sequence[str] | None = None
) -> tuple[Values, Values]:
    """AUROCs (M,) of M scores of the same rows, and their covariance (M, M): NaN with one patient of a class.

    Args:
        labels: (N,) 0 or 1.
        scores: (M, N).
        patients: (N,) as for `area`. With one row each this is DeLong's covariance.

    Raises:
        ValueError: only one class is there.
    """
    sick, values = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    if sick.all() or not sick.any():
        raise ValueError("one class only")
    names = np.arange(len(sick)).astype(str) if patients is None else np.asarray(patients, dtype=str)
    number = np.unique(names, return_inverse=True)[1]  # (N,) of the patient
    parts = [components(sick, row) for row in values]
    areas = np.array([of_sick.mean() for of_sick, _ in parts])
    count = int(number.max()) + 1
    # per patient: sum of components less what the AUROC leads to expect, (M, patients)
    for_sick = np.array([_by(number[sick], v10 - a, count) for (v10, _), a in zip(parts, areas, strict=True)])
    for_healthy = np.array([_by(number[~sick], v01 - a, count) for (_, v01), a in zip(parts, areas, strict=True)])
    with_sick, with_healthy = len(set(number[sick])), len(set(number[~sick]))
    if min(with_sick, with_healthy) < 2:
        return areas, np.full((len(areas), len(areas)), np.nan)
    m, n = int(sick.sum()), int((~sick).sum())
    s10 = for_sick @ for_sick.T * with_sick / ((with_sick - 1) * m)
    s01 = for_healthy @ for_healthy.T * with_healthy / ((with_healthy - 1) * n)
    s11 = for_sick @ for_healthy.T * count / (count - 1)
    return areas, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def components(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Values, Values]:
    """For each sick row the share of healthy ones below it (V10), for each healthy row of sick ones above it (V01).

    Ties count half. By midranks, as in Sun & Xu (2014).
    """
    sick, values = np.asarray(labels).astype(bool), np.asarray(scores, np.float64)
    m, n = int(sick.sum()), int((~sick).sum())
    among_all = _midranks(values)
    v10 = (among_all[sick] - _midranks(values[sick])) / n
    v01 = 1 - (among_all[~sick] - _midranks(values[~sick])) / m
    return v10, v01


def _midranks(values: Values) -> Values:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (np.cumsum(size) - (size - 1) / 2)[group]
    return ranks


def _by(number: npt.NDArray[np.intp], values: Values, count: int) -> Values:
    total = np.zeros(count)
    np.add.at(total, number, values)
    return total
