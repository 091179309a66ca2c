"""Similarity, distance, magnitude of a yes-or-no answer (Schmaltz 2025, "Universal Verification", steps 1-3, 5, 7, 8).

q is how many of the nearest training cases agree, d how near they are as calibration images go; both sharpen or flatten
the network's odds to an activation, whose place among the calibration images of the same answer makes the support.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from medcam.record import Record

Values = npt.NDArray[np.float64]
Pair = tuple[Values, Values]
"""Something about images without the label, and with it."""

RIGHT = 0.95
"""Share of right answers from which a support is reliable, and confidence of its margin."""


@dataclass(frozen=True)
class SDM(Record):
    """What calibration images taught about one label. All values ascend."""

    near: Pair
    """Distances to the nearest training case, of images with q > 0."""
    sure: Pair
    """Activations of the true answer."""
    supported: Pair
    """Supports."""
    least: float | None = None
    """The support from which answers are reliable; None: no support is enough."""

    @classmethod
    def fit(cls, q: npt.ArrayLike, nearest: npt.ArrayLike, odds: npt.ArrayLike, truth: npt.ArrayLike) -> Self:
        """Of N images, each (N,).

        Args:
            odds: of the label, less those of its threshold: at least zero where the network says yes.
            truth: whether the label is there.
        """
        agreeing, distances, z, present = (np.asarray(values) for values in (q, nearest, odds, truth))
        rows, true, said = range(len(z)), present.astype(np.intp), (z >= 0).astype(np.intp)

        def by_truth(values: Values, used: npt.NDArray[np.bool_] | bool = True) -> Pair:
            return np.sort(values[used & ~present]), np.sort(values[used & present])

        nothing = np.empty(0)
        known = cls(by_truth(distances, agreeing > 0), (nothing, nothing), (nothing, nothing))
        activation = np.stack([known.activation(agreeing[i], distances[i], z[i]) for i in rows])  # (N, 2)
        known = replace(known, sure=by_truth(activation[rows, true]))
        support = np.array([known.support(agreeing[i], activation[i, said[i]], said[i]) for i in rows])
        least = least_reliable(support, activation[rows, true], present)
        return replace(known, supported=by_truth(support), least=least)

    def distance(self, nearest: float) -> float:
        """d: 1 less the share of calibration images that lie nearer, of the less favourable answer; 0 without any."""
        return min(1 - share_below(near, nearest) if len(near) else 0.0 for near in self.near)

    def activation(self, q: float, nearest: float, odds: float) -> Values:
        """(2,) of no and yes."""
        return np.exp(log_activation([0.0, odds], q, self.distance(nearest)))

    def support(self, q: float, activation: float, side: int) -> float:
        """The activation's share among calibration images of the same answer, weighted by ln(2 + q)."""
        return float(share_below(self.sure[side], activation) * np.log(2 + q))

    def lower(self, q: float, nearest: float, odds: float) -> float:
        """The support, less the margin that few calibration images of at most this support leave open."""
        side = int(odds >= 0)
        found = self.support(q, self.activation(q, nearest, odds)[side], side)
        fewer = len(self.supported[side]) * share_below(self.supported[side], found)
        return float(max(found - margin(fewer) * np.log(2 + q), 0.0))


def similarity(agrees: npt.ArrayLike) -> int:
    """q: how many of the cases, nearest first, agree before the first that does not."""
    flags = np.asarray(agrees, bool)
    return len(flags) if flags.all() else int(flags.argmin())


def share_below(ascending: npt.ArrayLike, value: float) -> float:
    """The empirical distribution function with strictly less; 0 of nothing."""
    values = np.asarray(ascending)
    return float(np.searchsorted(values, value, side="left") / len(values)) if len(values) else 0.0


def log_activation(logits: npt.ArrayLike, q: float, d: float) -> Values:
    """The logarithm of (2 + q)^(d z) over the sum of it: log softmax at q = e - 2 and d = 1, uniform at d = 0."""
    z = np.asarray(logits, np.float64) * d * np.log(2 + q)
    top = z.max(axis=-1, keepdims=True)
    log: Values = z - top - np.log(np.exp(z - top).sum(axis=-1, keepdims=True))
    return log


def margin(cases: float, confidence: float = RIGHT) -> float:
    """How far the distribution of so many cases may lie from the true one, at most 1 (Dvoretzky-Kiefer-Wolfowitz)."""
    return float(min(np.sqrt(np.log(2 / (1 - confidence)) / (2 * cases)), 1.0)) if cases else 1.0


def least_reliable(support: Values, activation: Values, truth: npt.NDArray[np.bool_]) -> float | None:
    """The least support, from 1 on, at which for both answers 95 % of the true activations are at least 0.95.

    Args:
        support: (N,) of calibration images.
        activation: (N,) of each one's true answer.
        truth: (N,) what that is.

    Returns:
        None where no support is enough.
    """
    for least in np.unique(support[support >= 1]):
        within = support >= least
        sides = [activation[within & (truth == side)] for side in (False, True)]
        if all(len(side) and np.quantile(side, 1 - RIGHT) >= RIGHT for side in sides):
            return float(least)
    return None
