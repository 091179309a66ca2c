"""What each operation of a network does to the layout of its input: kernel, stride, padding and dilation, composed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from medcam.explainers._layout import BATCH, Dim, Layout, cells, merge, plain, single
from medcam.explainers._reordering import REORDERING, Look, Rule, argument, concatenated

SAME = {
    "clone",
    "_to_copy",
    "detach",
    "alias",
    "contiguous",
    "_softmax",
    "_safe_softmax",
    "_log_softmax",
    "_prelu_kernel",
    "hardswish",
    "hardswish_",
}
"""Operations that leave every cell where it is, beside the element-wise ones."""


def is_norm(name: str) -> bool:
    """Whether an operation normalises: batch, group or layer norm, in whatever library."""
    return any(kind in name for kind in ("batch_norm", "group_norm", "layer_norm"))


def compose(func: Any, args: Sequence[Any], out: Tensor, look: Look) -> Layout | None:
    """The layout of `out = func(*args)`, or None where it cannot be told from the operation alone."""
    name = str(func.overloadpacket.__name__)
    shape = tuple(out.shape)
    if torch.Tag.pointwise in func.tags:
        return merge([layout for layout in map(look, args) if layout is not None], shape)
    if name in MIXING:
        return MIXING[name](args, shape, look)
    first = look(args[0])
    if first is None:
        return None
    if name in SAME or is_norm(name):
        return first if _sizes(first) == shape else None
    rule = RULES.get(name) or next((rule for part, rule in FAMILIES.items() if part in name), None)
    return rule(first, args, shape) if rule is not None else None


def _sizes(layout: Layout) -> tuple[int, ...]:
    return tuple(map(cells, layout))


def _per_axis(value: Any, axes: int) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * axes if len(values) == 1 else values


def _windowed(
    layout: Layout, shape: Sequence[int], moves: Sequence[tuple[float, float]], channels: int | None = None
) -> Layout | None:
    """Move the last axes by (stride, offset) each; the others stay."""
    axes = len(moves)
    dims: list[Dim] = list(layout[:-axes])
    if channels is not None:
        dims[-1] = plain(channels)
    for dim, size, (stride, offset) in zip(layout[-axes:], shape[-axes:], moves, strict=True):
        if (stride, offset) == (1.0, 0.0) and cells(dim) == size:
            dims.append(dim)
            continue
        axis = single(dim)
        if axis is None:
            return None
        dims.append((axis.moved(size, stride, offset),))
    return tuple(dims)


def _convolution(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    kernel, stride, padding, dilation = (
        args[1].shape[2:],
        *(_per_axis(args[i], args[1].ndim - 2) for i in (3, 4, 5)),
    )
    reach = [d * (k - 1) / 2 - p for k, p, d in zip(kernel, padding, dilation, strict=True)]
    if args[6]:  # transposed
        moves = [(1 / s, -r / s) for s, r in zip(stride, reach, strict=True)]
    else:
        moves = [(float(s), r) for s, r in zip(stride, reach, strict=True)]
    return _windowed(layout, shape, moves, channels=shape[1])


def _pool(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    axes = len(args[1])
    kernel = _per_axis(args[1], axes)
    stride = _per_axis(argument(args, 2, None) or kernel, axes)
    padding = _per_axis(argument(args, 3, 0), axes)
    dilation = argument(args, 4, 1)  # ceil_mode in the place of dilation: average pooling
    dilations = _per_axis(1 if isinstance(dilation, bool) else dilation, axes)
    moves = [(float(s), d * (k - 1) / 2 - p) for k, s, p, d in zip(kernel, stride, padding, dilations, strict=True)]
    return _windowed(layout, shape, moves)


def _adaptive(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    axes = len(args[1])
    ratios = [cells(dim) / size for dim, size in zip(layout[-axes:], shape[-axes:], strict=True)]
    return _windowed(layout, shape, [(ratio, ratio / 2 - 0.5) for ratio in ratios])


def _pad(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    axes = len(args[1]) // 2
    before = [float(args[1][2 * (axes - 1 - i)]) for i in range(axes)]  # the last axis is given first
    return _windowed(layout, shape, [(1.0, -amount) for amount in before])


def _upsample(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    axes = len(shape) - 2
    moves = []
    for dim, size in zip(layout[-axes:], shape[-axes:], strict=True):
        before = cells(dim)
        corners = len(args) > 2 and args[2] is True  # align_corners
        moves.append(((before - 1) / max(size - 1, 1), 0.0) if corners else (before / size, before / size / 2 - 0.5))
    return _windowed(layout, shape, moves)


def _reduce(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    along = argument(args, 1, None)
    if along is None:
        return None
    gone = {int(dim) % len(layout) for dim in (along if isinstance(along, list | tuple) else [along])}
    if len(shape) == len(layout):
        return tuple(plain(1) if position in gone else dim for position, dim in enumerate(layout))
    return tuple(dim for position, dim in enumerate(layout) if position not in gone)


def _vector_norm(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    return _reduce(layout, (args[0], argument(args, 2, None)), shape)


def _matrix(args: Sequence[Any], shape: Sequence[int], look: Look) -> Layout | None:
    """(rows, features) times a weight: the rows stay where they are, cells among the features lose their place."""
    left, right = args[-2:]
    rows = look(left)
    if rows is None or look(right) is not None or any(axis.source == BATCH for axis in rows[1]):
        return None
    return rows[0], plain(shape[1])


def _product(args: Sequence[Any], shape: Sequence[int], look: Look) -> Layout | None:
    """Of batched matrices: the rows of the left (queries) stay where they are, the columns are those of the right."""
    left, right = look(args[0]), look(args[1])
    if left is None:
        return None
    return left[0], left[1], plain(shape[2]) if right is None else right[2]


def _queries(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    """Of attention in one operation."""
    return (*layout[:-1], plain(shape[-1])) if len(shape) == len(layout) else None


RULES: dict[str, Rule] = {
    "convolution": _convolution,
    **REORDERING,
    "linalg_vector_norm": _vector_norm,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "logsumexp", "var", "std", "prod"), _reduce),
}
FAMILIES: dict[str, Rule] = {
    "adaptive": _adaptive,
    "max_pool": _pool,
    "avg_pool": _pool,
    "_pad": _pad,
    "upsample": _upsample,
    "scaled_dot_product": _queries,
}
"""By a part of the name, the first that fits."""
MIXING: dict[str, Callable[[Sequence[Any], Sequence[int], Look], Layout | None]] = {
    "cat": concatenated,
    "addmm": _matrix,
    "mm": _matrix,
    "bmm": _product,
}
"""Operations of several tensors."""
