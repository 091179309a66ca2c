"""Regions by one threshold: connected evidence above a share of the display range, boxed on the source series."""

import itertools
import math

import numpy as np
import numpy.typing as npt

from medcam.findings import Explanation, Region
from medcam.grid import Grid, resample

MOST = 10
"""Regions kept per series, strongest first."""

_REFINEMENT = 4
"""Evidence is interpolated this much finer before it is cut, so that boxes are not as coarse as the map's cells."""


def regions(explanation: Explanation, source: Grid, fraction: float = 0.5) -> tuple[Region, ...]:
    """Connected parts of the evidence at or above `fraction` of its display range, strongest first.

    The evidence is interpolated to a quarter of its cell size, so memory follows the map, never the source. The
    range is one per model, not one per series: a series with little evidence has no region.

    Args:
        explanation: evidence with its display range (low, high).
        source: the grid of the series, on which boxes and peaks are given.
        fraction: of the display range, in (0, 1].
    """
    from skimage.measure import label, regionprops

    low, high = explanation.display_range
    threshold = low + fraction * (high - low)
    fine = _finer(explanation.grid)
    values = resample(explanation.evidence, explanation.grid, fine, within=explanation.input_grid)
    if high <= low or not (values >= threshold).any():
        return ()
    positive = float(values.clip(min=0).sum())
    labels = label(values >= threshold, connectivity=values.ndim)
    found = []
    for part in regionprops(labels, intensity_image=values):
        inside = np.where(part.image, part.image_intensity, -np.inf)
        peak = np.unravel_index(int(inside.argmax()), inside.shape)
        place = np.asarray(peak) + part.bbox[: values.ndim]
        mass = float(part.image_intensity[part.image].sum()) / positive
        start, stop = part.bbox[: values.ndim], part.bbox[values.ndim :]
        found.append(_region(fine, source, start, stop, place, float(inside.max()), mass, threshold))
    return tuple(sorted(found, key=lambda region: -region.peak_value)[:MOST])


def _finer(grid: Grid) -> Grid:
    """The same field of view in smaller cells; frames stay whole."""
    factors = [1 if grid.is_cine and axis == 0 else _REFINEMENT for axis in range(len(grid.shape))]
    return grid.resized(tuple(size * factor for size, factor in zip(grid.shape, factors, strict=True)))


def _region(
    fine: Grid,
    source: Grid,
    start: tuple[int, ...],
    stop: tuple[int, ...],
    peak: npt.NDArray[np.int_],
    peak_value: float,
    mass: float,
    threshold: float,
) -> Region:
    corners = np.array(list(itertools.product(*zip(start, stop, strict=True)))) - 0.5
    ends = source.index(fine.position(corners))  # (corners, axes), in source cells
    limit = np.asarray(source.shape)
    first = np.clip(np.floor(ends.min(axis=0) + 0.5 + 1e-6), 0, limit - 1).astype(int)
    last = np.clip(np.ceil(ends.max(axis=0) + 0.5 - 1e-6), first + 1, limit).astype(int)
    top = np.clip(np.rint(source.index(fine.position(peak))), first, last - 1).astype(int)
    spatial = slice(1, None) if source.is_cine else slice(None)
    size = (last - first)[spatial] * np.asarray(source.spacing)[spatial]
    centre = source.position((first + last - 1) / 2)
    return Region(
        start=tuple(first.tolist()),
        stop=tuple(last.tolist()),
        peak=tuple(top.tolist()),
        peak_value=peak_value,
        mass=mass,
        threshold=threshold,
        size_mm=tuple(size.tolist()) if source.mm_known else None,
        centre_mm=(float(centre[0]), float(centre[1]), 0.0 if source.is_cine else float(centre[2]))
        if source.mm_known
        else None,
        interval_s=_interval(source, int(first[0]), int(last[0])),
    )


def _interval(source: Grid, first: int, last: int) -> tuple[float, float] | None:
    """From where frame `first` begins to where frame `last - 1` ends; the last frame lasts as long as its neighbour."""
    times = source.frame_times_s
    if times is None:
        return None
    begins = times[last] if last < len(times) else times[-1] + (times[-1] - times[-2] if len(times) > 1 else math.nan)
    return times[first], times[first] if math.isnan(begins) else begins
