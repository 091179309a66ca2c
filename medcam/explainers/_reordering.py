"""What operations that compute nothing do to a layout: views, permutations, slices, rolls, concatenation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from medcam.explainers._layout import BATCH, Dim, Layout, Tokens, cells, merge, plain, reshaped, single, tokens

Look = Callable[[Any], Layout | None]
"""From a tensor to its layout, None where it does not depend on the input (a weight)."""
Rule = Callable[[Layout, Sequence[Any], Sequence[int]], Layout | None]
"""From the layout of the first argument, all arguments and the result's shape to the result's layout."""


def argument(args: Sequence[Any], position: int, default: Any) -> Any:
    """One of an operator's arguments; operators leave out those that have their default."""
    return args[position] if len(args) > position else default


def concatenated(args: Sequence[Any], shape: Sequence[int], look: Look) -> Layout | None:
    """Of channels; or of cells in a row, once, with class tokens and registers around them."""
    along = int(argument(args, 1, 0)) % len(shape)
    layouts = [look(part) for part in args[0]]
    known = [layout for layout in layouts if layout is not None]
    rest = _merged([(*layout[:along], plain(shape[along]), *layout[along + 1 :]) for layout in known], shape)
    lie = [
        position
        for position, layout in enumerate(layouts)
        if layout is not None and any(axis.source is not None for axis in layout[along])
    ]
    if rest is None or not lie:
        return rest
    here = layouts[lie[0]]
    if len(lie) > 1 or here is None or any(axis.source == BATCH for axis in here[along]):
        return None
    before, after = (sum(part.shape[along] for part in some) for some in (args[0][: lie[0]], args[0][lie[0] + 1 :]))
    return (*rest[:along], tokens(here[along], before, after), *rest[along + 1 :])


def _merged(layouts: Sequence[Layout], shape: Sequence[int]) -> Layout | None:
    """Parts laid on one another; where they are the pixels of patches, turn by turn, they do not disagree."""
    together = merge(layouts, shape)
    if together is None:
        return None
    dims = list(together)
    for position, dim in enumerate(together):
        parts = [axis for layout in layouts if (axis := single(layout[position])) is not None and axis.placed]
        offsets = sorted({axis.offset for axis in parts})
        if len(offsets) > 1 and math.isclose(offsets[-1] - offsets[0] + offsets[1] - offsets[0], parts[0].stride):
            dims[position] = (replace(dim[0], slack=max(axis.slack for axis in parts)),)
    return tuple(dims)


def _unbind(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    return _select(layout, (args[0], argument(args, 1, 0)), shape)


def _permute(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout:
    return tuple(layout[dim] for dim in args[1])


def _transpose(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout:
    dims = list(layout)
    one, other = (args[1], args[2]) if len(args) > 2 else (0, len(dims) - 1)  # `t` names no dimensions
    dims[one], dims[other] = dims[other], dims[one]
    return tuple(dims)


def _unsqueeze(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout:
    at = args[1] % len(shape)
    return (*layout[:at], plain(1), *layout[at:])


def _view(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    return reshaped(layout, shape)


def _expand(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    return merge([layout], shape)


def _slice(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    along = argument(args, 1, 0) % len(shape)
    whole, size = cells(layout[along]), shape[along]
    if whole == size:
        return layout
    start, step = argument(args, 2, None) or 0, argument(args, 4, 1)
    dim = _cut(layout[along], start + whole if start < 0 else start, size, step)
    return None if dim is None else (*layout[:along], dim, *layout[along + 1 :])


def _cut(dim: Dim, start: int, size: int, step: int) -> Dim | None:
    """`size` entries of a dimension from `start` on; of tokens, all cells or none."""
    if len(dim) == 1 and isinstance(row := dim[0], Tokens):
        end, last = start + size, row.size - row.after
        if end <= row.before or start >= last:
            return plain(size)
        whole = step == 1 and start <= row.before and end >= last
        return tokens(row.cells, row.before - start, end - last) if whole else None
    axis = single(dim)
    if axis is None or (axis.source is not None and not axis.placed):
        return None
    return (axis.moved(size, step, start),)


def _roll(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    along = argument(args, 2, ())
    if not along:  # the flattened tensor is rolled
        return None
    dims = list(layout)
    for shift, dim in zip(args[1], along, strict=True):
        axis, *folded = dims[dim]
        if shift and any(part.source is not None for part in dims[dim]):
            if folded or not axis.placed:
                return None
            dims[dim] = (axis.turned(shift),)
    return tuple(dims)


def _piece(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    """One of several pieces in a row, told by its size."""
    along = argument(args, 2, 0) % len(shape)
    size, dim = shape[along], layout[along]
    if size == cells(dim):
        return layout
    if all(axis.source is None for axis in dim):
        return (*layout[:along], plain(size), *layout[along + 1 :])
    sizes = args[1] if isinstance(args[1], list | tuple) else ()
    if list(sizes).count(size) != 1:
        return None
    cut = _cut(dim, sum(sizes[: sizes.index(size)]), size, 1)
    return None if cut is None else (*layout[:along], cut, *layout[along + 1 :])


def _select(layout: Layout, args: Sequence[Any], shape: Sequence[int]) -> Layout | None:
    along = args[1] % len(layout)
    if any(axis.source is not None and not axis.placed for axis in layout[along]):
        return None
    return (*layout[:along], *layout[along + 1 :])


REORDERING: dict[str, Rule] = {
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "unsqueeze": _unsqueeze,
    "squeeze": _view,
    "view": _view,
    "_unsafe_view": _view,
    "reshape": _view,
    "expand": _expand,
    "slice": _slice,
    "roll": _roll,
    "select": _select,
    "unbind": _unbind,
    "split": _piece,
    "split_with_sizes": _piece,
}
