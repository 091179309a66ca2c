"""Where each cell of an array lies in the patient, and the one place where values move from one grid to another."""

import functools
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcam.record import Record

Matrix = npt.NDArray[np.float64]
Space = Literal["patient", "detector", "pixels"]

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Letters of the patient's sides at the negative and positive end of the RAS axes."""


@dataclass(frozen=True)
class Grid(Record):
    """Geometry without values: shape and the map from array index to millimetres.

    `shape` is (H, W), (D, H, W) or, for a cine, (T, H, W). `affine` is the 4x4 matrix from the index
    (d, h, w, 1) of a cell's centre to (x, y, z, 1); an image (H, W) has d = 0.

    In space "patient" x, y, z are RAS millimetres. In "detector" and "pixels" x runs along the columns, y down the
    rows, z along the first axis (the frame number of a cine); `mm_known` says whether x and y are millimetres.
    """

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    space: Space = "pixels"
    mm_known: bool = False
    frame_of_reference: str | None = None
    frame_times_s: tuple[float, ...] | None = None
    """Seconds at which each frame of a cine begins; None for images and volumes."""
    patient_orientation: tuple[str, str] | None = None
    """DICOM Patient Orientation of a projection: where rows and columns run to, e.g. ("L", "F")."""

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise ValueError(f"a grid has two or three axes of at least one cell, not {self.shape}")
        if np.shape(self.affine) != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("an affine is a finite 4x4 matrix")
        if self.frame_times_s is not None and len(self.frame_times_s) != self.shape[0]:
            raise ValueError(f"{len(self.frame_times_s)} frame times for {self.shape[0]} frames")

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: npt.ArrayLike, **facts: Any) -> "Grid":
        """A grid from any 4x4 array-like."""
        rows = np.asarray(affine, dtype=np.float64)
        return cls(tuple(int(n) for n in shape), tuple(tuple(float(v) for v in row) for row in rows), **facts)

    @classmethod
    def plane(cls, shape: tuple[int, ...], spacing: tuple[float, float] = (1.0, 1.0), **facts: Any) -> "Grid":
        """An image or cine without a place in the patient; `spacing` is (row distance, column distance)."""
        affine = np.array([[0, 0, spacing[1], 0], [0, spacing[0], 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        return cls.of(shape, affine, **facts)

    @functools.cached_property
    def matrix(self) -> Matrix:
        """The affine as an array (4, 4)."""
        return np.asarray(self.affine, dtype=np.float64)

    @property
    def is_cine(self) -> bool:
        """Whether the first axis is time."""
        return self.frame_times_s is not None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring cells along each axis (mm if known; frames along a cine's first axis)."""
        return tuple(float(n) for n in np.linalg.norm(self.matrix[:3, 3 - len(self.shape) : 3], axis=0))

    def position(self, index: npt.ArrayLike) -> Matrix:
        """Index (..., ndim), fractions allowed, to position (..., 3)."""
        index = np.asarray(index, dtype=np.float64)
        missing = np.zeros((*index.shape[:-1], 3 - len(self.shape)))
        return np.concatenate([missing, index], axis=-1) @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def index(self, position: npt.ArrayLike) -> Matrix:
        """Position (..., 3) to fractional index (..., ndim)."""
        shifted = np.asarray(position, dtype=np.float64) - self.matrix[:3, 3]
        index: Matrix = shifted @ np.linalg.inv(self.matrix[:3, :3]).T
        return index[..., 3 - len(self.shape) :]

    def rescaled(self, shape: tuple[int, ...], stride: npt.ArrayLike, offset: npt.ArrayLike) -> "Grid":
        """The grid of `shape` whose index i sits at `offset + stride * i` of this grid's index; one number per axis."""
        axes = len(self.shape)
        step, start = np.eye(4), np.zeros(3)
        step[range(3 - axes, 3), range(3 - axes, 3)] = np.broadcast_to(np.asarray(stride, float), axes)
        start[3 - axes :] = np.broadcast_to(np.asarray(offset, float), axes)
        step[:3, 3] = start
        times = None
        if self.frame_times_s is not None:
            frames = start[0] + step[0, 0] * np.arange(shape[0])
            times = tuple(float(t) for t in np.interp(frames, np.arange(self.shape[0]), self.frame_times_s))
        return replace(Grid.of(shape, self.matrix @ step), **self._facts(times))

    def cropped(self, start: tuple[int, ...], shape: tuple[int, ...]) -> "Grid":
        """The part of this grid that begins at index `start`."""
        return self.rescaled(shape, 1, start)

    def resized(self, shape: tuple[int, ...]) -> "Grid":
        """The same field of view in `shape` cells (half-pixel convention)."""
        ratio = np.asarray(self.shape) / np.asarray(shape)
        return self.rescaled(shape, ratio, ratio / 2 - 0.5)

    def sides(self) -> tuple[str, str, str, str]:
        """Letters of the patient's side at the (left, right, top, bottom) edge of the shown image; "" where unknown."""
        if self.space == "patient":
            left_to_right, top_to_bottom = self.matrix[:3, 2], self.matrix[:3, 1]
            return (_letter(-left_to_right), _letter(left_to_right), _letter(-top_to_bottom), _letter(top_to_bottom))
        if self.patient_orientation is not None:
            right, bottom = (direction[:1] for direction in self.patient_orientation)
            opposite = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
            return opposite.get(right, ""), right, opposite.get(bottom, ""), bottom
        return "", "", "", ""

    def _facts(self, times: tuple[float, ...] | None) -> dict[str, Any]:
        return {
            "space": self.space,
            "mm_known": self.mm_known,
            "frame_of_reference": self.frame_of_reference,
            "frame_times_s": times,
            "patient_orientation": self.patient_orientation,
        }


def _letter(direction: Matrix) -> str:
    axis = int(np.abs(direction).argmax())
    return LETTERS[axis][int(direction[axis] > 0)]


def resample(
    values: npt.NDArray[Any],
    source: Grid,
    target: Grid,
    *,
    within: Grid | None = None,
    fill: float = 0.0,
    nearest: bool = False,
    slab: slice | None = None,
) -> npt.NDArray[np.float32]:
    """Values (..., *source.shape) on the cells of `target`: (..., *target.shape), by linear interpolation.

    Beyond the outermost centres of `source` the border value holds, but cells outside the field of view of `within`
    (by default of `source`, half a cell beyond its outermost centres) get `fill`: nothing was looked at there.

    Args:
        slab: only these indices of the target's first axis, so that a large volume is filled piece by piece.
        nearest: the nearest cell's value, for masks and labels.

    Raises:
        ValueError: the grids have different numbers of axes, or lie in different kinds of space.
    """
    axes = len(source.shape)
    if len(target.shape) != axes or source.space != target.space:
        raise ValueError(f"no way from {source.space} {source.shape} to {target.space} {target.shape}")
    first = range(target.shape[0])[slab or slice(None)]
    shape = (len(first), *target.shape[1:])
    to_source = _between(target, source, axes, first.start)
    inside = _inside(_between(target, within or source, axes, first.start), (within or source).shape, shape)
    columns = to_source[:axes, :axes]
    strongest = np.abs(columns).argmax(axis=1)  # for each source axis, the target axis that runs along it
    rest = np.abs(columns)
    rest[range(axes), strongest] = 0
    aligned = len(set(strongest.tolist())) == axes and rest.max() * max(shape) < 1e-3
    take = _separable if aligned else _scattered
    moved = take(np.asarray(values, dtype=np.float32), to_source, shape, source.shape, nearest)
    return np.where(inside, moved, np.float32(fill))


def _between(target: Grid, source: Grid, axes: int, first: int) -> Matrix:
    """Matrix (axes + 1, axes + 1) from an index of `target`, whose first axis begins at `first`, to one of `source`."""
    both = np.linalg.inv(source.matrix) @ target.matrix
    kept = [*range(3 - axes, 3), 3]
    matrix = both[np.ix_(kept, kept)]
    matrix[:axes, axes] += matrix[:axes, 0] * first
    return matrix


def _coordinates(matrix: Matrix, row: int, shape: tuple[int, ...]) -> Matrix:
    """The source coordinate along axis `row` for every target cell, broadcastable to `shape`."""
    total: Matrix = np.full([1] * len(shape), matrix[row, -1])
    for axis, size in enumerate(shape):
        if matrix[row, axis] != 0:
            along = [size if other == axis else 1 for other in range(len(shape))]
            total = total + (matrix[row, axis] * np.arange(size)).reshape(along)
    return total


def _inside(matrix: Matrix, source_shape: tuple[int, ...], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    inside: npt.NDArray[np.bool_] = np.ones([1] * len(shape), dtype=bool)
    for row, size in enumerate(source_shape):
        along = _coordinates(matrix, row, shape)
        inside = inside & (along >= -0.5 - 1e-6) & (along <= size - 0.5 + 1e-6)
    return inside


def _separable(
    values: npt.NDArray[np.float32],
    matrix: Matrix,
    shape: tuple[int, ...],
    source_shape: tuple[int, ...],
    nearest: bool,
) -> npt.NDArray[np.float32]:
    """Grids that differ by scale, shift, flips and swapped axes: one axis after the other, smallest result first."""
    axes = len(shape)
    lead = values.ndim - axes
    order = [
        int(np.abs(matrix[:axes, axis]).argmax()) for axis in range(axes)
    ]  # the source axis along each target axis
    values = values.transpose(*range(lead), *(lead + row for row in order))
    for axis, row in sorted(enumerate(order), key=lambda pair: shape[pair[0]] / source_shape[pair[1]]):
        along = (matrix[row, axis] * np.arange(shape[axis]) + matrix[row, axes]).clip(0, source_shape[row] - 1)
        low, weight = _neighbours(along, nearest)
        near = values.take(low, axis=lead + axis)
        if not nearest and weight.any():
            span = [-1 if other == lead + axis else 1 for other in range(values.ndim)]
            far = values.take(np.minimum(low + 1, source_shape[row] - 1), axis=lead + axis)
            near = near + (far - near) * weight.astype(np.float32).reshape(span)
        values = near
    return values


def _scattered(
    values: npt.NDArray[np.float32],
    matrix: Matrix,
    shape: tuple[int, ...],
    source_shape: tuple[int, ...],
    nearest: bool,
) -> npt.NDArray[np.float32]:
    """Grids at an angle: every target cell looks up the corners around it, one slab of the first axis at a time."""
    axes = len(shape)
    result = np.empty((*values.shape[: values.ndim - axes], *shape), dtype=np.float32)
    for first in range(shape[0]):
        here = matrix.copy()
        here[:axes, axes] += matrix[:axes, 0] * first
        corners = []
        for row, size in enumerate(source_shape):
            along = np.broadcast_to(_coordinates(here, row, (1, *shape[1:])), (1, *shape[1:]))[0].clip(0, size - 1)
            low, weight = _neighbours(along, nearest)
            corners.append(((low, 1 - weight), (np.minimum(low + 1, size - 1), weight)))
        total: Any = 0.0
        for corner in range(1 if nearest else 2**axes):
            chosen = [pair[corner >> row & 1] for row, pair in enumerate(corners)]
            share = np.prod(np.stack([part for _, part in chosen]), axis=0) if not nearest else 1.0
            at: Any = (..., *(index for index, _ in chosen))
            total = total + values[at] * share
        here_at: Any = (..., first, *([slice(None)] * (axes - 1)))
        result[here_at] = total
    return result


def _neighbours(along: Matrix, nearest: bool) -> tuple[npt.NDArray[np.intp], Matrix]:
    whole = np.rint(along)
    if nearest:
        return whole.astype(np.intp), np.zeros_like(along)
    along = np.where(np.abs(along - whole) < 1e-6, whole, along)  # so that values on the same cells stay bit for bit
    low = np.floor(along).astype(np.intp)
    return low, along - low
