"""The contract of a transform, and the one place where pixels become a tensor and a true Grid.

A member is a function from a series' header facts and keyword options to a MONAI Compose over a MetaTensor (C, *space),
space (H, W), (D, H, W) or (T, H, W). Its affine says where each cell lies, so every member must keep it exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from mmap import mmap
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from medcam.errors import InputError, MedcamError
from medcam.grid import Grid, Matrix
from medcam.study import Pixels

if TYPE_CHECKING:
    import torch
    from monai.transforms import Compose

_TO_MONAI = {2: [1, 2, 0, 3], 3: [0, 1, 2, 3]}
_FROM_MONAI = {2: [2, 0, 1, 3], 3: [0, 1, 2, 3]}
"""Order of affine columns: MONAI counts an image's axes from column 0, a Grid keeps (h, w) in columns 1 and 2."""
_TENSOR_TYPES = (np.uint8, np.int16, np.int32, np.float32)
"""Taken as they are, so that a long cine is cut down to few frames before it grows to four bytes a value."""

TIMES = "frame_times_s"
"""Under this name the image's meta tells a transform when each frame of a cine begins (seconds); None if unknown."""


class Build(Protocol):
    """What a member is: header facts by DICOM keyword and options in, MONAI Compose out."""

    def __call__(self, facts: Mapping[str, str], **options: Any) -> Compose: ...


@dataclass(frozen=True)
class Prepared:
    """What a model sees of one series."""

    tensor: torch.Tensor
    """(B, C, *space) float32, contiguous, on the CPU. B is 1, or the number of tiles of a slide."""
    grids: tuple[Grid, ...]
    """One per row of `tensor`: where its cells lie."""
    steps: tuple[str, ...]
    """From stored value to model input, in order."""

    @property
    def grid(self) -> Grid:
        """The grid of a series that is one row. ValueError if it is several tiles."""
        (grid,) = self.grids
        return grid


def compose(name: str, facts: Mapping[str, str] | None = None, **options: Any) -> Compose:
    """The transform of that name, built for one series.

    Args:
        name: a member of the shelf, e.g. "ct".
        facts: `Series.facts`; a member may read where the picture lies on the screen from them.
        options: keyword options of the member.

    Raises:
        UsageError: there is no such transform.
    """
    from medcam.transforms import SHELF

    return SHELF.load(name)(facts or {}, **options)


def prepare(pixels: Pixels, transform: Compose) -> Prepared:
    """Apply a transform to a loaded series.

    Args:
        pixels: (H, W), (D, H, W) or (T, H, W), or (N, h, w) tiles with origins; a last axis of 3 if in colour.
        transform: MONAI Compose over a MetaTensor (C, *space).

    Returns:
        Prepared: tensor (B, C, *space) and the Grid of each row, taken from the MetaTensor's affine at the end; what
        else the source grid knew (space, frame of reference, frame times) is kept true.

    Raises:
        InputError: "preparation-failed", the values are not finite or the transform changed the kind of image.
    """
    import torch

    parts = _tiles(pixels) if pixels.origins is not None else [(pixels.array, pixels.grid)]
    rows, grids = [], []
    for array, grid in parts:
        row, moved = _apply(array, grid, pixels.colour, transform)
        rows.append(row)
        grids.append(moved)
    tensor = torch.stack(rows)
    last = f"{tuple(tensor.shape[1:])} at {' x '.join(f'{s:.3g}' for s in grids[0].spacing)}"
    return Prepared(tensor, tuple(grids), (*pixels.steps, *_names(transform), last))


def _tiles(pixels: Pixels) -> list[tuple[npt.NDArray[Any], Grid]]:
    """Each tile (h, w[, 3]) with its own part of the slide's grid."""
    height, width = pixels.array.shape[1:3]
    origins = pixels.origins or ()
    return [
        (tile, pixels.grid.cropped(origin, (height, width))) for tile, origin in zip(pixels.array, origins, strict=True)
    ]


def _apply(array: npt.NDArray[Any], grid: Grid, colour: bool, transform: Compose) -> tuple[torch.Tensor, Grid]:
    import torch
    from monai.data import MetaTensor

    array = array.astype(np.float32) if array.dtype not in _TENSOR_TYPES else _own(array)
    values = np.moveaxis(array, -1, 0) if colour else array[None]  # (C, *space)
    axes = len(grid.shape)
    affine = torch.from_numpy(grid.matrix[:, _TO_MONAI[axes]])
    image = _transformed(
        MetaTensor(torch.from_numpy(values), affine=affine, meta={TIMES: grid.frame_times_s}), transform
    )
    if image.ndim != axes + 1:
        raise InputError("preparation-failed", f"The transform made {image.ndim - 1} axes out of {axes}.")
    tensor = image.as_tensor().to(torch.float32).contiguous()
    if not bool(tensor.isfinite().all()):
        raise InputError("preparation-failed", "The prepared pixels hold NaN or infinity; export the series again.")
    return tensor, _placed(grid, tuple(tensor.shape[1:]), np.asarray(image.affine, np.float64)[:, _FROM_MONAI[axes]])


def _transformed(image: Any, transform: Compose) -> Any:
    try:
        return transform(image)
    except RuntimeError as error:
        cause: BaseException = error  # MONAI's, which tells only the step; what the step raised is behind it
        while cause.__cause__ is not None and not isinstance(cause, MedcamError):
            cause = cause.__cause__
        if isinstance(cause, MedcamError):
            raise cause from None
        raise


def _own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values where a transform may write: over a read-only memory map that would kill the process.

    A file is mapped once more, so that only pages that are written to are copied.
    """
    if array.flags.writeable:
        return array
    if isinstance(array, np.memmap) and isinstance(array.base, mmap) and array.flags.c_contiguous:  # a whole file
        return np.memmap(str(array.filename), array.dtype, "c", array.offset, array.shape)
    return array.copy()


def _placed(source: Grid, shape: tuple[int, ...], affine: Matrix) -> Grid:
    """The grid at the end: its own shape and affine, everything else as the source knew it."""
    times = None
    if source.frame_times_s is not None:
        frames = np.zeros((shape[0], len(shape)))
        frames[:, 0] = np.arange(shape[0])
        at = source.index(Grid.of(shape, affine).position(frames))[:, 0]  # (T,) frame numbers of the source
        times = tuple(float(t) for t in np.interp(at, np.arange(source.shape[0]), source.frame_times_s))
    rows = tuple(tuple(float(v) for v in row) for row in affine)
    return replace(source, shape=tuple(int(n) for n in shape), affine=rows, frame_times_s=times)


def _names(transform: Compose) -> list[str]:
    """A word for each step: our own transforms say their options, MONAI's their names."""
    steps = transform.flatten().transforms
    return [type(step).__name__ if type(step).__module__.startswith("monai") else repr(step) for step in steps]
