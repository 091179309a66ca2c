"""How far probabilities are from frequencies: ECE in three forms, Brier and its parts, NLL, bins of a reliability plot.

ECE is biased upwards in small samples: a perfectly calibrated model has one too, which `expected_by_chance` tells.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.record import Record

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bins(Record):
    """A reliability plot: of each bin that is not empty how many cases, their mean probability, and what came true."""

    count: tuple[int, ...]
    stated: tuple[float, ...]
    came_true: tuple[float, ...]

    @property
    def ece(self) -> float:
        """Mean distance of stated and came true, by cases (expected calibration error)."""
        gaps = np.abs(np.subtract(self.stated, self.came_true))
        return float(np.average(gaps, weights=self.count))

    @property
    def mce(self) -> float:
        """The greatest distance (maximum calibration error)."""
        return float(np.abs(np.subtract(self.stated, self.came_true)).max())


@dataclass(frozen=True)
class Brier(Record):
    """Brier score = reliability - resolution + uncertainty + what lies within bins (Murphy 1973)."""

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    """Zero where all cases of a bin have one probability."""


def equal_width(probability: npt.ArrayLike, came_true: npt.ArrayLike, bins: int = 15) -> Bins:
    """Bins (lo, hi] of equal width; the first one takes 0 too.

    Args:
        probability: (N,) of an event, such as that the label is there or that the top class is right.
        came_true: (N,) 0 or 1.
    """
    p = np.asarray(probability, np.float64)
    return _bins(p, came_true, np.clip(np.ceil(p * bins).astype(np.intp) - 1, 0, bins - 1))


def equal_mass(probability: npt.ArrayLike, came_true: npt.ArrayLike, bins: int = 15) -> Bins:
    """Bins of equally many cases, in the order of their probability (adaptive ECE, Nguyen and O'Connor 2015)."""
    p = np.asarray(probability, np.float64)
    of = np.empty(len(p), np.intp)
    of[np.argsort(p, kind="stable")] = np.arange(len(p)) * min(bins, len(p)) // len(p)
    return _bins(p, came_true, of)


def _bins(p: Values, came_true: npt.ArrayLike, of: npt.NDArray[np.intp]) -> Bins:
    count = np.bincount(of)
    used = count > 0
    means = [np.bincount(of, weights=values)[used] / count[used] for values in (p, np.asarray(came_true, np.float64))]
    return Bins(tuple(count[used].tolist()), tuple(means[0].tolist()), tuple(means[1].tolist()))


def top_label(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Values, Values]:
    """(N, K) of a softmax to the (N,) probability of the top class and whether it was right: Guo's confidence."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets)
    return p.max(axis=1), (p.argmax(axis=1) == y.argmax(axis=1)).astype(np.float64)


def class_wise_ece(probabilities: npt.ArrayLike, targets: npt.ArrayLike, bins: int = 15) -> float:
    """Mean over the K labels of the ECE of each label's own probability."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    return float(np.mean([equal_width(p[:, k], y[:, k], bins).ece for k in range(p.shape[1])]))


def expected_by_chance(probability: npt.ArrayLike, bins: int = 15, draws: int = 200, seed: int = 0) -> float:
    """Mean ECE if every stated probability were exactly true: what the sample's size alone brings."""
    p, rng = np.asarray(probability, np.float64), np.random.default_rng(seed)
    return float(np.mean([equal_width(p, rng.random(len(p)) < p, bins).ece for _ in range(draws)]))


def brier(probability: npt.ArrayLike, came_true: npt.ArrayLike, bins: int = 15) -> Brier:
    """Mean squared distance of one event's probability from 0 or 1, and its parts over bins of equal width."""
    p, y = np.asarray(probability, np.float64), np.asarray(came_true, np.float64)
    table = equal_width(p, y, bins)
    share, stated, true = np.array(table.count) / len(p), np.array(table.stated), np.array(table.came_true)
    score, base = float(((p - y) ** 2).mean()), float(y.mean())
    reliability = float((share * (stated - true) ** 2).sum())
    resolution, uncertainty = float((share * (true - base) ** 2).sum()), base * (1 - base)
    return Brier(score, reliability, resolution, uncertainty, score - (reliability - resolution + uncertainty))


def brier_of_classes(probabilities: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The sum over classes of a softmax: twice the one-event form where there are two."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    return float(((p - y) ** 2).sum(axis=1).mean())


def nll(probabilities: npt.ArrayLike, targets: npt.ArrayLike, softmax: bool = False) -> float:
    """Mean negative log likelihood in nats; of independent labels the mean over labels too."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    tiny = np.finfo(np.float64).tiny
    if softmax:
        return float(-(y * np.log(np.maximum(p, tiny))).sum(axis=1).mean())
    return float(-(y * np.log(np.maximum(p, tiny)) + (1 - y) * np.log(np.maximum(1 - p, tiny))).mean())
