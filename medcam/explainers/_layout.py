"""Which axis of the model's input each dimension of an activation runs along, and where its cells sit on that axis."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

BATCH = -1


@dataclass(frozen=True)
class Axis:
    """`size` cells in a row; cell i sits at input index `offset + stride * i` of axis `source`.

    `source` counts the spatial axes of the input from 0; BATCH is the samples; None is anything without a place
    (channels, pooled axes). `slack` is by how many input cells branches that were merged disagree about the offset.
    """

    size: int
    source: int | None = None
    stride: float = 1.0
    offset: float = 0.0
    slack: float = 0.0

    @property
    def placed(self) -> bool:
        """Whether the cells have a place on an axis of the input."""
        return self.source is not None and self.source >= 0

    def moved(self, size: int, stride: float, offset: float) -> "Axis":
        """After an operation whose output cell j looks at this axis' cell `offset + stride * j`."""
        if not self.placed:
            return Axis(size)
        return replace(self, size=size, stride=self.stride * stride, offset=self.offset + self.stride * offset)


Dim = tuple[Axis, ...]
"""One dimension of a tensor; where axes were folded together (frames into the batch), the outermost comes first."""
Layout = tuple[Dim, ...]


def of_input(shape: Sequence[int]) -> Layout:
    """The layout of an input (B, C, *space)."""
    space = [(Axis(size, source),) for source, size in enumerate(shape[2:])]
    return ((Axis(shape[0], BATCH),), (Axis(shape[1]),), *space)


def single(dim: Dim) -> Axis | None:
    """The one axis of a dimension that nothing was folded into."""
    return dim[0] if len(dim) == 1 else None


def plain(size: int) -> Dim:
    """A dimension without a place."""
    return (Axis(size),)


def merge(layouts: Iterable[Layout], shape: Sequence[int]) -> Layout | None:
    """What element-wise operations of tensors yield, broadcast to `shape`; None if they do not lie on one another."""
    dims: list[Dim] = [plain(size) for size in shape]
    for layout in layouts:
        if len(layout) > len(shape):
            return None
        for position, dim in enumerate(layout, start=len(shape) - len(layout)):
            if math.prod(axis.size for axis in dim) != shape[position]:
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
    merged = []
    for a, b in zip(one, other, strict=True):
        if (a.size, a.source) != (b.size, b.source) or not math.isclose(a.stride, b.stride):
            return None
        apart = abs(a.offset - b.offset)
        merged.append(replace(a, offset=(a.offset + b.offset) / 2, slack=max(a.slack, b.slack, apart / 2)))
    return tuple(merged)


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """After a view; None where a placed axis would be cut in pieces (windows of a transformer)."""
    if tuple(math.prod(axis.size for axis in dim) for dim in layout) == tuple(shape):
        return layout
    queue = [axis for dim in layout for axis in dim if axis.size > 1 or axis.source is not None]
    dims: list[Dim] = []
    for position, size in enumerate(shape):
        taken: list[Axis] = []
        while math.prod(axis.size for axis in taken) < size:
            if not queue:
                return None
            axis = queue.pop(0)
            room = size // math.prod(a.size for a in taken)
            if axis.size > room:  # only channels may be cut
                if axis.source is not None or axis.size % room:
                    return None
                queue.insert(0, Axis(axis.size // room))
                axis = Axis(room)
            taken.append(axis)
        if math.prod(axis.size for axis in taken) != size:
            return None
        one_follows = position + 1 < len(shape) and shape[position + 1] == 1
        while queue and queue[0].size == 1 and not (taken and one_follows):  # a single sample, frame or slice
            taken.append(queue.pop(0))
        dims.append(tuple(taken) or plain(1))
    return tuple(dims) if not queue else None
