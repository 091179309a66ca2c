"""How well scores tell sick from healthy: AUROC, its interval, and where to cut."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The chance that a sick case scores higher than a healthy one, ties counting half (Mann-Whitney U).

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) any order-preserving score.

    Raises:
        ValueError: only one class is there.
    """
    sick, healthy = _both(labels, scores)
    wins = (sick[:, None] > healthy[None, :]).mean() + 0.5 * (sick[:, None] == healthy[None, :]).mean()
    return float(wins)


def interval(
    measure: Callable[[npt.NDArray[np.intp]], float], cases: int, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval over cases (Efron & Tibshirani, 1993).

    Args:
        measure: from case indices (N,), drawn with replacement, to the figure; a draw for which it raises ValueError
            (one class only) is left out.
        cases: how many there are; one per patient.
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


def wilson(hits: int, cases: int) -> tuple[float, float]:
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
