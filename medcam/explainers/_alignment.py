"""Where the cells of a layer lie on the model's input.

A cell sits at the centre of its receptive field, which kernel, stride, padding and dilation decide exactly. Stretching
the map over the image instead ("half-pixel") is off by up to half a coarse cell: Alsallakh et al. 2021, Mind the Pad.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._layout import BATCH, Axis, Layout
from medcam.explainers._session import first_tensor, undisturbed
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
    """By how many input cells the branches of the network disagree about the offset at most; 0 nearly always."""

    def grid(self, of_input: Grid) -> Grid:
        """The grid of the evidence for an input on `of_input`."""
        return of_input.rescaled(self.shape, self.stride, self.offset)

    def __str__(self) -> str:
        places = ", ".join(
            f"{offset:g} + {stride:g} i" for offset, stride in zip(self.offset, self.stride, strict=True)
        )
        return f"cells at input index ({places}), {self.how}"


def whole(space: Sequence[int]) -> Alignment:
    """Of the model's input itself."""
    axes = len(space)
    return Alignment(tuple(space), (1.0,) * axes, (0.0,) * axes, "composed")


def align(model: nn.Module, x: Tensor, call: Call, role: str) -> tuple[Arrangement, Alignment]:
    """How an activation is arranged and where its cells lie, for inputs like `x` (B, C, *space).

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


def _measured(model: nn.Module, x: Tensor, call: Call, role: str, arrangement: Arrangement) -> Alignment:
    """Centres of mass of the squared gradient of single cells, along a diagonal through the middle of the map."""
    space = tuple(x.shape[2:])
    nominal = of_axes(arrangement.axis_of, space, "assumed")
    reach = max(1, min(nominal.shape) // 4)
    steps = [-reach, 0, reach] if max(nominal.shape) > 2 else [0]
    indices, centres = [], []
    with undisturbed(model, x.device):
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn((1, *x.shape[1:]), generator=generator).to(x).requires_grad_()
        activation = _activation(model, noise, call, role)
        if activation is None or not activation.requires_grad:
            return nominal
        maps = arrangement.rows(activation).sum(1, keepdim=True)
        cells = arrangement.evidence(maps, batch=1)[0, 0]
        for step in steps:
            index = tuple(min(max(size // 2 + step, 0), size - 1) for size in nominal.shape)
            (gradient,) = torch.autograd.grad(cells[index], noise, retain_graph=True)
            weight = gradient[0].double().square().sum(0)
            if not weight.sum() > 0:
                return nominal
            centres.append([_centre(weight, axis) for axis in range(len(space))])
            indices.append(index)
    return _fitted(nominal, indices, centres)


def _activation(model: nn.Module, x: Tensor, call: Call, role: str) -> Tensor | None:
    seen: list[Tensor | None] = []
    module = model.get_submodule(call.module)
    if role == "output":
        handle = module.register_forward_hook(lambda m, args, output: seen.append(first_tensor(output)))
    else:
        handle = module.register_forward_pre_hook(lambda m, args: seen.append(first_tensor(args)))
    try:
        model(x)
    finally:
        handle.remove()
    return seen[call.index]


def _centre(weight: Tensor, axis: int) -> float:
    profile = weight.sum([other for other in range(weight.ndim) if other != axis])
    places = torch.arange(len(profile), dtype=profile.dtype, device=profile.device)
    return float((profile * places).sum() / profile.sum())


def _fitted(nominal: Alignment, indices: list[tuple[int, ...]], centres: list[list[float]]) -> Alignment:
    strides, offsets = list(nominal.stride), list(nominal.offset)
    for axis in range(len(strides)):
        at = [float(index[axis]) for index in indices]
        seen = [centre[axis] for centre in centres]
        apart = at[-1] - at[0]
        if apart > 0:
            slope = (seen[-1] - seen[0]) / apart
            if abs(slope / strides[axis] - 1) > 0.1:  # within a tenth, the field of view is the better witness
                strides[axis] = slope
        offsets[axis] = sum(s - strides[axis] * i for s, i in zip(seen, at, strict=True)) / len(at)
    return replace(nominal, stride=tuple(strides), offset=tuple(offsets), how="measured")
