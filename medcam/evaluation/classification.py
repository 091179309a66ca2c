"""How well scores tell sick from healthy: AUROC, average precision, what a threshold gives, and where to cut."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


class Ranked:
    """Labels in the order of their scores, sorted once for many weightings.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) any order-preserving score; equal scores are one group.
    """

    def __init__(self, labels: npt.ArrayLike, scores: npt.ArrayLike) -> None:
        values = np.asarray(scores, np.float64)
        self.rows = len(values)
        self._order = np.argsort(-values, kind="stable")  # highest score first
        self._sick = np.asarray(labels, np.float64)[self._order]
        ordered = values[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(values)])
        self.cuts: Values = ordered[self._starts]
        """(G,) the distinct scores, highest first."""

    def groups(self, weights: Values) -> tuple[Values, Values]:
        """Weights (D, G) of sick and healthy rows at each distinct score, from weights (D, N)."""
        ordered = weights[:, self._order]
        sick = np.add.reduceat(ordered * self._sick, self._starts, axis=1)
        return sick, np.add.reduceat(ordered, self._starts, axis=1) - sick

    def auroc(self, weights: Values) -> Values:
        """(D,): NaN where one class has no weight."""
        sick, healthy = self.groups(weights)
        above = np.cumsum(sick, axis=1) - sick / 2  # sick rows that score higher, ties counting half
        return _share((above * healthy).sum(axis=1), sick.sum(axis=1) * healthy.sum(axis=1))

    def average_precision(self, weights: Values) -> Values:
        """(D,): NaN where no sick row or no healthy row has weight."""
        sick, healthy = self.groups(weights)
        found = np.cumsum(sick, axis=1)
        precision = found / np.maximum(found + np.cumsum(healthy, axis=1), 1e-300)
        area = _share((precision * sick).sum(axis=1), sick.sum(axis=1))
        return np.where(healthy.sum(axis=1) > 0, area, np.nan)


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The chance that a sick case scores higher than a healthy one, ties counting half (Mann-Whitney U).

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) any order-preserving score.

    Raises:
        ValueError: only one class is there.
    """
    _both(labels, scores)
    return float(Ranked(labels, scores).auroc(np.ones((1, np.size(labels))))[0])


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The mean precision over the sick cases, without interpolation; by chance it is the prevalence.

    Raises:
        ValueError: only one class is there.
    """
    _both(labels, scores)
    return float(Ranked(labels, scores).average_precision(np.ones((1, np.size(labels))))[0])


@dataclass(frozen=True)
class Counts:
    """Cases by truth and decision; numbers, or (D,) of D weightings. Ratios are NaN where nothing can be divided."""

    tp: Values
    fp: Values
    tn: Values
    fn: Values

    @property
    def sensitivity(self) -> Values:
        return _share(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Values:
        return _share(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Values:
        """Positive predictive value, at the prevalence of these cases."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def negative_predictive_value(self) -> Values:
        return _share(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> Values:
        return _share(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    @property
    def balanced_accuracy(self) -> Values:
        return (self.sensitivity + self.specificity) / 2

    @property
    def f1(self) -> Values:
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mcc(self) -> Values:
        """Matthews' correlation: 0 where all decisions are the same, NaN where only one class is there."""
        sick, healthy = self.tp + self.fn, self.tn + self.fp
        yes, no = self.tp + self.fp, self.tn + self.fn
        root = np.sqrt(sick) * np.sqrt(healthy) * np.sqrt(yes) * np.sqrt(no)
        both = self.tp * self.tn - self.fp * self.fn
        return np.where(sick * healthy > 0, np.nan_to_num(_share(both, root), nan=0.0), np.nan)


def counts(labels: npt.ArrayLike, flagged: npt.ArrayLike, weights: Values | None = None) -> Counts:
    """Cases by truth (N,) and decision (N,), for weights (D, N); without weights every case counts once."""
    sick, yes = np.asarray(labels).astype(bool), np.asarray(flagged).astype(bool)
    rows = np.ones(len(sick)) if weights is None else weights
    return Counts(*(rows @ part.astype(np.float64) for part in (sick & yes, ~sick & yes, ~sick & ~yes, sick & ~yes)))


def interval(
    measure: Callable[[npt.NDArray[np.intp]], float], cases: int, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval over cases (Efron & Tibshirani, 1993).

    Args:
        measure: from case indices (N,), drawn with replacement, to the figure; a draw for which it raises ValueError
            (one class only) is left out.
        cases: how many there are; one per patient. For several per patient see `bootstrap`.
    """
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        try:
            values.append(measure(rng.integers(0, cases, cases)))
        except ValueError:
            continue
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def wilson(hits: float, cases: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927): unlike the bootstrap it has a width when every case is a hit."""
    z = 1.959964
    share, spread = hits / cases, z * z / cases
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / cases + spread / (4 * cases)) / (1 + spread)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def youden(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The cut with the greatest sensitivity + specificity - 1 (Youden, 1950), midway between the two scores around it.

    Of several equally good cuts the middle one.
    """
    sick, healthy = _both(labels, scores)
    values = np.unique(np.concatenate([sick, healthy]))
    cuts = (values[:-1] + values[1:]) / 2 if len(values) > 1 else values
    gain = np.array([(sick >= cut).mean() - (healthy >= cut).mean() for cut in cuts])
    best = np.nonzero(gain >= gain.max() - 1e-12)[0]
    return float(cuts[best[len(best) // 2]])


def _both(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Values, Values]:
    is_sick, values = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    if is_sick.all() or not is_sick.any():
        raise ValueError("one class only")
    return values[is_sick], values[~is_sick]


def _share(part: Values, whole: Values) -> Values:
    """`part` / `whole`, NaN where the whole is not above zero."""
    is_there = np.asarray(whole) > 0
    return np.where(is_there, part / np.where(is_there, whole, 1.0), np.nan)
