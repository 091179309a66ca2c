"""Which tiles of a slide hold tissue, judged on a small overview of it."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

DARKER = 25
"""Grey levels, of 255, by which a pixel's darkest channel must lie below the glass to count as stained."""

LEAST_TISSUE = 0.02
"""Share of stained pixels from which a tile is looked at; low, so that fat with its thin walls is not lost."""


def stained(overview: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Pixels (H, W) of an RGB overview (H, W, 3) that are darker than the glass around the tissue.

    Glass is the 95th percentile of brightness, but never darker than light grey: a slide full of tissue has no glass.
    """
    darkest = overview.min(axis=-1)
    glass = max(float(np.percentile(darkest, 95)), 215.0)
    return np.asarray(darkest < glass - DARKER)


def tiles(shape: tuple[int, int], tile: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Origins (row, column) that cover `shape`; the last ones are moved back so that every tile is whole."""
    for row in range(0, shape[0], tile[0]):
        for column in range(0, shape[1], tile[1]):
            yield min(row, shape[0] - tile[0]), min(column, shape[1] - tile[1])


def holding_tissue(mask: npt.NDArray[np.bool_], shape: tuple[int, int], tile: tuple[int, int]) -> list[tuple[int, int]]:
    """Those origins of `tiles` whose part of `mask`, which spans all of `shape`, is stained enough."""
    scale = np.array(mask.shape) / np.array(shape)
    kept = []
    for row, column in tiles(shape, tile):
        top, left = np.floor(np.array([row, column]) * scale).astype(int)
        bottom, right = np.ceil(np.array([row + tile[0], column + tile[1]]) * scale).astype(int)
        if mask[top:bottom, left:right].mean() >= LEAST_TISSUE:
            kept.append((row, column))
    return kept
