"""Frames, sliding windows, patches and slides are one idea: rows of a batch that are parts of a whole."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcam.errors import ExplainError
from medcam.explainers._alignment import Alignment
from medcam.grid import Grid


@dataclass(frozen=True)
class Placement:
    """Where one row of a batch was taken from, and how much its logit counts in the whole's score."""

    origin: tuple[int, ...]
    """Index of its first cell in the whole."""
    window: tuple[int, ...]
    """How many cells of the whole it covers; the model may have seen them resized."""
    weight: float = 1.0
    """Of its logit in the whole's pooled logit, e.g. 1 / N for the mean of N tiles."""


def stitch(
    maps: npt.NDArray[Any],
    placements: Sequence[Placement],
    alignment: Alignment,
    whole: Grid,
    space: Sequence[int] | None = None,
    *,
    overlap: Literal["sum", "mean"] = "sum",
) -> tuple[npt.NDArray[np.float32], Grid]:
    """One map of the whole, and its grid, from the maps of its parts.

    A cell that falls between cells of the whole's map is shared out among its neighbours, so nothing is lost or gained.

    Args:
        maps: (N, *cells), one per placement. Frames (N, h, w) may be placed in a cine (T, H, W).
        alignment: of the layer on the model's input.
        space: the model's input shape, where it differs from the windows (tiles that were resized).
        overlap: "sum" gives each part its share of the pooled logit; "mean" is the weighted mean of what overlaps.

    Raises:
        ExplainError: maps and placements do not fit, or windows of different scale are mixed.
    """
    fitting = len(maps) == len(placements) > 0 and len({p.window for p in placements}) == 1
    if not fitting or len(placements[0].window) != len(whole.shape):
        raise ExplainError("bad-placement", "Each map needs one placement in the whole, all with windows of one shape.")
    window, missing = placements[0].window, len(whole.shape) - len(alignment.shape)
    ratio = np.array(window) / np.array(([1] * missing + list(space)) if space is not None else window)
    stride = np.array([1.0] * missing + list(alignment.stride)) * ratio
    offset = (np.array([0.0] * missing + list(alignment.offset)) + 0.5) * ratio - 0.5
    cells = (*[1] * missing, *maps.shape[1:])

    starts = (np.array([p.origin for p in placements]) + offset) / stride  # in cells of the whole's map, (N, axes)
    first = starts.min(axis=0)
    starts = np.round(starts - first, 6)
    shape = tuple(int(n) for n in np.ceil(starts.max(axis=0)).astype(int) + cells)
    total, cover = np.zeros(shape), np.zeros(shape)
    for values, placement, start in zip(maps.reshape(len(maps), *cells), placements, starts, strict=True):
        low = np.floor(start).astype(int)
        shares = [((at, 1 - part), (at + 1, part)) for at, part in zip(low, start - low, strict=True)]
        for corner in itertools.product(*shares):
            share = placement.weight * float(np.prod([part for _, part in corner]))
            if share != 0:
                where = tuple(slice(at, at + size) for (at, _), size in zip(corner, cells, strict=True))
                total[where] += share * values
                cover[where] += share
    if overlap == "mean":
        total = np.divide(total, cover, out=np.zeros(shape), where=cover > 1e-12)
    return total.astype(np.float32), whole.rescaled(shape, stride, first * stride)
