"""Where the cells of a layer lie on the model's input.

A cell sits at the centre of its receptive field, which kernel, stride, padding and dilation decide exactly. Stretching
the map over the image instead ("half-pixel") is off by up to half a coarse cell: Alsallakh et al. 2021, Mind the Pad.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._layout import BATCH, Axis, Layout
from medcam.explainers._probe import Line, probe
from medcam.explainers._trace import Call
from medcam.grid import Grid

How = Literal["composed", "measured", "assumed"]


@dataclass(frozen=True)
class Alignment:
    """Cell i along an axis sits at input index `offset + stride * i`; one entry per spatial axis of the input."""

    shape: tuple[int, ...]
    stride: tuple[float, ...]
    offset: tuple[float, ...]
    how: How
    slack: float = 0.0
    """By how many input cells the branches of the network, or measurements, disagree at most; 0 nearly always."""

    def grid(self, of_input: Grid) -> Grid:
        """The grid of the evidence for an input on `of_input`."""
        return of_input.rescaled(self.shape, self.stride, self.offset)

    def __str__(self) -> str:
        places = ", ".join(
            f"{offset:.4g} + {stride:.4g} i" for offset, stride in zip(self.offset, self.stride, strict=True)
        )
        spread = f" to within {self.slack:.2g}" if self.slack else ""
        return f"cells at input index ({places}), {self.how}{spread}"


def whole(space: Sequence[int]) -> Alignment:
    """Of the model's input itself."""
    axes = len(space)
    return Alignment(tuple(space), (1.0,) * axes, (0.0,) * axes, "composed")


def align(model: nn.Module, x: Tensor, call: Call, role: str, *, measure: bool = True) -> tuple[Arrangement, Alignment]:
    """How an activation is arranged and where its cells lie, for inputs like `x` (B, C, *space).

    Args:
        measure: where places cannot be composed, measure them in a few passes; else the field of view is shared out.

    Raises:
        ExplainError: the activation has no spatial axes.
    """
    if role == "attention":
        raise ExplainError("no-spatial-axes", 'An attention matrix is no layer; choose one, or layer="auto".')
    space = tuple(x.shape[2:])
    layout, shape = (call.layout, call.shape) if role == "output" else (call.layout_in, call.shape_in)
    if layout is not None:
        arrangement = Arrangement(layout, len(space))
        if arrangement.valid:
            return arrangement, of_axes(arrangement.axis_of, space, "composed")
    if layout is not None or (guess := _guess(shape, x)) is None:
        raise ExplainError(
            "no-spatial-axes",
            f"Layer {call.module!r} gives {shape}, which has no spatial axes like the input's {space}; "
            'choose a layer before pooling, or layer="auto".',
        )
    arrangement = Arrangement(guess, len(space))
    if not measure:
        return arrangement, of_axes(arrangement.axis_of, space, "assumed")
    return arrangement, _measured(model, x, call, role, arrangement)


def of_axes(axes: dict[int, Axis], space: Sequence[int], how: How) -> Alignment:
    """Of the axes of a map, by the input axis they run along; one that is missing is a single cell in the middle."""
    whole = {source: Axis(1, source, size, (size - 1) / 2) for source, size in enumerate(space)}
    placed = [axes.get(source, whole[source]) for source in range(len(space))]
    return Alignment(
        tuple(axis.size for axis in placed),
        tuple(axis.stride for axis in placed),
        tuple(axis.offset for axis in placed),
        how,
        max(axis.slack for axis in placed),
    )


def _guess(shape: Sequence[int], x: Tensor) -> Layout | None:
    """Where nothing could be composed: channels second, the field of view shared, frames folded if the count fits."""
    space = tuple(x.shape[2:])
    sources = list(range(len(space)))
    rows: tuple[Axis, ...] = (Axis(shape[0], BATCH),) if shape else ()
    if len(shape) == x.ndim - 1 and len(space) == 3:
        rows = (Axis(0, BATCH), Axis(space[0], 0))
        sources = sources[1:]
    if len(shape) != 2 + len(sources) or max(shape[2:]) == 1:
        return None
    ratios = [space[source] / size for source, size in zip(sources, shape[2:], strict=True)]
    cells = [
        (Axis(size, source, ratio, ratio / 2 - 0.5),)
        for size, source, ratio in zip(shape[2:], sources, ratios, strict=True)
    ]
    return (rows, (Axis(shape[1]),), *cells)


_known: "WeakKeyDictionary[nn.Module, dict[object, tuple[Call, Alignment]]]" = WeakKeyDictionary()


def _measured(model: nn.Module, x: Tensor, call: Call, role: str, arrangement: Arrangement) -> Alignment:
    """What `probe` finds, else what the shared field of view suggests; remembered while the model keeps its shape."""
    known = _known.setdefault(model, {})
    key = (call.module, call.index, role, tuple(x.shape[1:]))
    if key not in known or known[key][0] is not call:
        nominal = of_axes(arrangement.axis_of, x.shape[2:], "assumed")
        lines = probe(model, x, call, role, arrangement, nominal.shape)
        known[key] = call, nominal if lines is None else _along(nominal, lines)
    return known[key][1]


def _along(nominal: Alignment, lines: Sequence[Line]) -> Alignment:
    strides, offsets, scatters = zip(*((line.stride, line.offset, line.scatter) for line in lines), strict=True)
    return replace(nominal, stride=strides, offset=offsets, how="measured", slack=max(scatters))
