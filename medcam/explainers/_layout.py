"""Which axis of the model's input each dimension of an activation runs along, and where its cells sit on that axis."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

BATCH = -1
TOKENS = -2


@dataclass(frozen=True)
class Axis:
    """`size` cells in a row; cell i sits at input index `offset + stride * i` of axis `source`.

    `source` counts the spatial axes of the input from 0; BATCH is the samples; TOKENS is explained there; None is
    anything without a place (channels, pooled axes). `slack` is by how many input cells branches that were merged
    disagree about the offset.
    """

    size: int
    source: int | None = None
    stride: float = 1.0
    offset: float = 0.0
    slack: float = 0.0
    within: bool = False
    """Whether the offset is counted from the centre of a piece of the axis: cells within a window."""
    rolled: float = 0.0
    """By how many input cells the axis was rolled: so far do cells lie from where they seem, round the end."""

    @property
    def placed(self) -> bool:
        """Whether the cells have a place on an axis of the input."""
        return self.source is not None and self.source >= 0

    @property
    def straight(self) -> bool:
        """Whether offset and stride alone say where the cells are."""
        return self.placed and not self.within and not self.rolled

    def moved(self, size: int, stride: float, offset: float) -> "Axis":
        """After an operation whose output cell j looks at this axis' cell `offset + stride * j`."""
        if not self.placed:
            return Axis(size)
        return replace(self, size=size, stride=self.stride * stride, offset=self.offset + self.stride * offset)

    def turned(self, shift: int) -> "Axis":
        """After every cell has moved on by `shift`, those at the end to the beginning."""
        around = self.size * self.stride
        rolled = (self.rolled - shift * self.stride) % around
        return replace(self, rolled=0.0 if math.isclose(rolled, around) or abs(rolled) < 1e-9 else rolled)

    def cut(self, pieces: int) -> tuple["Axis", "Axis"]:
        """Into pieces and the cells within each; a cell's place is the sum of both."""
        size = self.size // pieces
        if not self.placed:
            return Axis(pieces), Axis(size)
        centre = self.stride * (size - 1) / 2
        outer = replace(self, size=pieces, stride=self.stride * size, offset=self.offset + centre)
        return outer, Axis(size, self.source, self.stride, -centre, within=True)


@dataclass(frozen=True)
class Tokens(Axis):
    """The cells of some axes in one row, `before` and `after` them entries without a place: class token, registers."""

    cells: tuple[Axis, ...] = ()
    before: int = 0
    after: int = 0


Dim = tuple[Axis, ...]
"""One dimension of a tensor; where axes were folded together (frames into the batch), the outermost comes first."""
Layout = tuple[Dim, ...]


def of_input(shape: Sequence[int]) -> Layout:
    """The layout of an input (B, C, *space)."""
    space = [(Axis(size, source),) for source, size in enumerate(shape[2:])]
    return ((Axis(shape[0], BATCH),), (Axis(shape[1]),), *space)


def single(dim: Dim) -> Axis | None:
    """The one axis of a dimension along which a kernel can move: nothing is folded into it, and it runs straight."""
    if len(dim) != 1 or dim[0].rolled or isinstance(dim[0], Tokens):
        return None
    return dim[0]


def plain(size: int) -> Dim:
    """A dimension without a place."""
    return (Axis(size),)


def cells(dim: Dim) -> int:
    """The size of a dimension."""
    return math.prod(axis.size for axis in dim)


def tokens(dim: Dim, before: int, after: int) -> Dim:
    """A dimension between entries without a place."""
    if len(dim) == 1 and isinstance(row := dim[0], Tokens):
        dim, before, after = row.cells, before + row.before, after + row.after
    if before == after == 0:
        return dim
    return (Tokens(before + cells(dim) + after, TOKENS, cells=dim, before=before, after=after),)


def spread(dim: Dim) -> tuple[Axis, ...]:
    """The axes of a dimension, those of its tokens among them."""
    return tuple(part for axis in dim for part in (axis.cells if isinstance(axis, Tokens) else (axis,)))


def merge(layouts: Iterable[Layout], shape: Sequence[int]) -> Layout | None:
    """What element-wise operations of tensors yield, broadcast to `shape`; None if they do not lie on one another."""
    dims: list[Dim] = [plain(size) for size in shape]
    for layout in layouts:
        if len(layout) > len(shape):
            return None
        for position, dim in enumerate(layout, start=len(shape) - len(layout)):
            if cells(dim) != shape[position]:
                continue  # broadcast along this dimension: a gate from the whole image has no place of its own
            both = _both(dims[position], dim)
            if both is None:
                return None
            dims[position] = both
    return tuple(dims)


def _both(one: Dim, other: Dim) -> Dim | None:
    if all(axis.source is None for axis in one):
        return other
    if all(axis.source is None for axis in other):
        return one
    if len(one) != len(other):
        return None
    merged: list[Axis] = []
    for a, b in zip(one, other, strict=True):
        if isinstance(a, Tokens) and isinstance(b, Tokens):
            inside = _both(a.cells, b.cells)
            if inside is None or (a.before, a.after) != (b.before, b.after):
                return None
            merged.append(replace(a, cells=inside))
            continue
        if (a.size, a.source, a.within) != (b.size, b.source, b.within):
            return None
        if not math.isclose(a.stride, b.stride) or not math.isclose(a.rolled, b.rolled, abs_tol=1e-9):
            return None
        first, last = min(a.offset - a.slack, b.offset - b.slack), max(a.offset + a.slack, b.offset + b.slack)
        merged.append(replace(a, offset=(first + last) / 2, slack=(last - first) / 2))
    return tuple(merged)


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """After a view; None where samples or tokens would be cut in pieces."""
    if tuple(map(cells, layout)) == tuple(shape):
        return layout
    queue = [axis for dim in layout for axis in dim if axis.size > 1 or axis.source is not None]
    dims: list[Dim] = []
    for position, size in enumerate(shape):
        taken: list[Axis] = []
        while cells(tuple(taken)) < size:
            if not queue:
                return None
            axis = queue.pop(0)
            room = size // cells(tuple(taken))
            if axis.size > room:
                if (axis.source is not None and not axis.placed) or axis.size % room:
                    return None
                axis, rest = axis.cut(room)
                queue.insert(0, rest)
            taken.append(axis)
        if cells(tuple(taken)) != size:
            return None
        one_follows = position + 1 < len(shape) and shape[position + 1] == 1
        while queue and queue[0].size == 1 and not (taken and one_follows):  # a single sample, frame or slice
            taken.append(queue.pop(0))
        dims.append(_rejoined(taken) or plain(1))
    return tuple(dims) if not queue else None


def _rejoined(axes: Sequence[Axis]) -> Dim:
    """Pieces of an axis and the cells within them, side by side again, are the axis."""
    dim: list[Axis] = []
    for axis in axes:
        if dim and axis.within and not axis.rolled and dim[-1].source == axis.source and _spans(dim[-1], axis):
            outer = dim.pop()
            size, offset, slack = outer.size * axis.size, outer.offset + axis.offset, max(outer.slack, axis.slack)
            axis = replace(outer, size=size, stride=axis.stride, offset=offset, slack=slack)
        dim.append(axis)
    return tuple(dim)


def _spans(outer: Axis, inner: Axis) -> bool:
    """Whether one step from piece to piece is as long as all steps within a piece."""
    return math.isclose(outer.stride, inner.stride * inner.size)
