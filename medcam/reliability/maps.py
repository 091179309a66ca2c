"""Whether the heat maps of several networks, passes or changed images agree, and where.

Maps are (T, *cells) in one unit; NaN where a map saw nothing. They are compared on one scale, never each on its own: a
map without evidence, stretched to full colour, would look certain.
"""

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from medcam.grid import Grid

Values = npt.NDArray[np.float64]


def scaled(maps: npt.ArrayLike) -> Values:
    """In [0, 1]: all maps over the peak of their mean; zeros where nothing speaks for the target on average."""
    values = np.asarray(maps, np.float64)
    peak = float(np.nanmax(mean(values), initial=0.0))
    one_scale: Values = np.clip(values / peak, 0, 1) if peak > 0 else np.where(np.isnan(values), np.nan, 0.0)
    return one_scale


def mean(maps: npt.ArrayLike) -> Values:
    """(*cells) over the maps that saw a cell; NaN where none did."""
    values = np.asarray(maps, np.float64)
    seen = ~np.isnan(values)
    count = seen.sum(axis=0)
    total = np.where(seen, values, 0).sum(axis=0)
    average: Values = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return average


def stability(maps: npt.ArrayLike) -> Values:
    """(*cells) 1 - 2 sigma (ddof 0) of maps in [0, 1]: 1 where they agree, 0 where half say all and half nothing."""
    values = np.asarray(maps, np.float64)
    return 1 - 2 * np.sqrt(mean((values - mean(values)) ** 2))


def inclusion(maps: npt.ArrayLike, level: float = 0.5) -> Values:
    """(*cells) share of the maps that reach the level there. At least 0.9: core; above 0.1: possible."""
    values = np.asarray(maps, np.float64)
    return mean(np.where(np.isnan(values), np.nan, values >= level))


def inclusion_entropy(maps: npt.ArrayLike, level: float = 0.5) -> Values:
    """(*cells) in nats: 0 where all maps agree on whether the cell belongs, ln 2 where half of them do."""
    share = inclusion(maps, level)
    parts = [-p * np.log(np.where(p > 0, p, 1)) for p in (share, 1 - share)]
    entropy: Values = parts[0] + parts[1]
    return entropy


def overlap(maps: npt.ArrayLike, level: float = 0.5) -> float:
    """Mean intersection over union, over all pairs of maps, of the cells that reach the level; two empty ones agree."""

    def iou(one: Values, other: Values) -> float:
        union = ((one >= level) | (other >= level)).sum()
        return float(((one >= level) & (other >= level)).sum() / union) if union else 1.0

    return _over_pairs(maps, iou)


def rank_agreement(maps: npt.ArrayLike) -> float:
    """Mean Spearman correlation over all pairs of maps; pairs with a map that is the same everywhere count as 0."""

    def correlation(one: Values, other: Values) -> float:
        ranks = [_ranks(values) for values in (one, other)]
        deviations = [values - values.mean() for values in ranks]
        norm = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
        return float((deviations[0] * deviations[1]).sum() / norm) if norm else 0.0

    return _over_pairs(maps, correlation)


def centre_spread(maps: npt.ArrayLike, grid: Grid) -> float:
    """Root mean square distance of the maps' centres of mass from their mean, in the grid's unit (mm where known).

    Maps without positive evidence have no centre; NaN if fewer than two have one.
    """
    values = np.nan_to_num(np.asarray(maps, np.float64)).clip(min=0)
    cells = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1).reshape(-1, len(grid.shape))
    weights = values.reshape(len(values), -1)
    weights = weights[weights.sum(axis=1) > 0]
    if len(weights) < 2:
        return float("nan")
    centres = grid.position(weights @ cells / weights.sum(axis=1, keepdims=True))  # positions are affine in indices
    return float(np.sqrt(((centres - centres.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _over_pairs(maps: npt.ArrayLike, measure: Callable[[Values, Values], float]) -> float:
    """The mean of a measure over all pairs, on the cells that both saw; NaN of a single map."""
    flat = np.asarray(maps, np.float64).reshape(len(np.asarray(maps)), -1)
    found = []
    for one, other in itertools.combinations(flat, 2):
        both = ~np.isnan(one) & ~np.isnan(other)
        found.append(measure(one[both], other[both]))
    return float(np.mean(found)) if found else float("nan")


def _ranks(values: Values) -> Values:
    """From 0; equal values share the mean of their ranks."""
    _, of, count = np.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum() - 1
    ranks: Values = (last - (count - 1) / 2)[of]
    return ranks
