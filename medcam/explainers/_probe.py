"""Where a layer's cells lie, measured: the model runs with peaked kernels, and gradients of single cells are looked at.

With its own weights a deep network answers to few, scattered pixels of a field that often is larger than the image.
With kernels that look at hardly more than their own middle, and with values that stay positive, the gradient of a cell
is a narrow spot about the place that is asked for.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medcam.explainers._arrangement import Arrangement
from medcam.explainers._session import first_tensor, undisturbed
from medcam.explainers._trace import Call

DRAWS = 4
"""Most inputs of noise; maxima and gates answer to each of them differently."""
CELLS = 5
ENOUGH = 0.05
"""Scatter of the centres about their line, in cells of the layer, at which no more noise is drawn."""
TOO_MUCH = 0.15
"""The same scatter, at which nothing fits."""
WIDTH = 0.35
"""Of the peak of a kernel, in its own cells: the next cell counts a sixtieth."""
NEAR = 0.15
"""Deviation (of logarithms) up to which a stride that shapes suggest is trusted before the measured one."""


@dataclass(frozen=True)
class Line:
    """Cell i of an axis sits at input index `offset + stride * i`, give or take `scatter`."""

    stride: float
    offset: float
    scatter: float = 0.0


def probe(
    model: nn.Module, x: Tensor, call: Call, role: str, arrangement: Arrangement, shape: Sequence[int]
) -> list[Line] | None:
    """The line of each spatial axis of the input, or None where none fits what was measured.

    Args:
        x: the kind of input (B, C, *space).
        arrangement: of the activation, as far as its shape tells.
        shape: cells of the map along each spatial axis of the input; 1 where it has none.
    """
    lines = None
    for weights in (peaked(model), nullcontext()):  # with other weights some models give nothing that fits
        with undisturbed(model, x.device), weights:
            try:
                lines = _probed(model, x, call, role, arrangement, shape)
            except (RuntimeError, ValueError, IndexError):
                continue
        if lines is not None:
            break
    return lines


def _probed(
    model: nn.Module, x: Tensor, call: Call, role: str, arrangement: Arrangement, shape: Sequence[int]
) -> list[Line] | None:
    space = tuple(x.shape[2:])
    strides = [length / size for length, size in zip(space, shape, strict=True)]
    cells = _chosen(shape)
    energy = torch.zeros(len(cells), *space, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    lines: list[Line] | None = None
    for draw in range(DRAWS):
        noise = (0.5 + torch.rand((1, *x.shape[1:]), generator=generator)).to(x).requires_grad_()
        activation = _activation(model, noise, call, role)
        if activation is None or not activation.requires_grad:
            return None
        rows = arrangement.rows(activation)
        signs = torch.randn(rows.shape[1], generator=generator).to(rows).reshape(1, -1, *[1] * (rows.ndim - 2))
        maps = arrangement.evidence((rows * signs).sum(1, keepdim=True), batch=1)[0, 0]
        for i, cell in enumerate(cells):
            (gradient,) = torch.autograd.grad(maps[cell], noise, retain_graph=True)
            squared = gradient[0].detach().double().square().sum(0).cpu()
            energy[i] += squared / squared.sum()
        if not bool(torch.isfinite(energy).all()):
            return None
        centres = [_centre(field, strides) for field in energy]
        lines = [
            _line([cell[axis] for cell in cells], [centre[axis] for centre in centres], space[axis], shape[axis])
            for axis in range(len(space))
        ]
        if draw > 0 and all(line.scatter <= ENOUGH * abs(line.stride) for line in lines):
            break
    fits = lines is not None and all(line.scatter <= TOO_MUCH * abs(line.stride) for line in lines)
    return lines if fits else None


@contextmanager
def peaked(model: nn.Module) -> Iterator[None]:
    """Within, every kernel is positive and peaked in its middle, and no norm scales or makes values negative.

    Not `torch.func.functional_call`: a module that hangs in the model by two names keeps its stand-in weights then.
    """
    holders: list[dict[str, Any]] = [held for m in model.modules() for held in (m._parameters, m._buffers)]
    originals = [dict(held) for held in holders]
    try:
        for held in holders:
            for name, value in held.items():
                if isinstance(value, nn.Parameter) or name in ("running_mean", "running_var"):  # no grids, no masks
                    held[name] = None if value is None else _peaked(name, value.detach(), held)
        yield
    finally:
        for held, original in zip(holders, originals, strict=True):
            held.update(original)


def _peaked(name: str, value: Tensor, beside: dict[str, Any]) -> Tensor:
    if name in ("bias", "running_mean"):
        of_norm = name == "bias" and getattr(beside.get("weight"), "ndim", 0) == 1
        return torch.full_like(value, 2.0 if of_norm else 0.0)  # what a norm gives has unit variance: nearly all pass
    if name == "running_var" or (name == "weight" and value.ndim == 1):
        return torch.ones_like(value)
    if value.ndim < 4:
        return value
    mixing = (value.abs() + 1e-6).flatten(2).mean(2)  # (out, in)
    kernel = (mixing / mixing.sum(1, keepdim=True)).reshape(*value.shape[:2], *[1] * (value.ndim - 2))
    for axis, size in enumerate(value.shape[2:], start=2):
        away = torch.arange(size, device=value.device) - (size - 1) / 2
        peak = torch.softmax(-away.square() / (2 * WIDTH**2), dim=0).to(value)
        kernel = kernel * peak.reshape(-1, *[1] * (value.ndim - 1 - axis))
    return kernel


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


def _chosen(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Cells along a diagonal through the middle half of the map."""
    parts = [0.25 + 0.5 * i / (CELLS - 1) for i in range(CELLS)]
    return list(dict.fromkeys(tuple(int(part * size) for size in shape) for part in parts))


def _centre(energy: Tensor, strides: Sequence[float]) -> list[float]:
    """Of a receptive field (*space): the centre of mass, again and again in a window about itself.

    What gates and norms bring in from the whole image is evenly spread and drops out with the median; the window is
    as wide to one side as to the other, so that a field cut off by the image's edge is not drawn inwards.
    """
    centre = [_mass(_profile(energy, axis), 0, energy.shape[axis]) for axis in range(energy.ndim)]
    for _ in range(30):
        before = list(centre)
        for axis, size in enumerate(energy.shape):
            part = energy
            for other, width in enumerate(energy.shape):
                if other != axis:
                    low, high = _window(before[other], 2 * strides[other], width)
                    part = part.narrow(other, low, high - low)
            profile = _profile(part, axis)
            low, high = _window(before[axis], 2 * strides[axis], size)
            centre[axis] = _mass(profile - profile.median().clamp(max=profile[low:high].mean()), low, high)
        if max(abs(a - b) for a, b in zip(before, centre, strict=True)) < 1e-3:
            break
    return centre


def _profile(energy: Tensor, axis: int) -> Tensor:
    return energy.sum([other for other in range(energy.ndim) if other != axis])


def _window(centre: float, reach: float, size: int) -> tuple[int, int]:
    """First and one past the last index of a window about a centre, as wide to both sides."""
    reach = max(min(reach, centre, size - 1 - centre), 0.5)
    return max(round(centre - reach), 0), min(round(centre + reach) + 1, size)


def _mass(profile: Tensor, low: int, high: int) -> float:
    places = torch.arange(low, high, dtype=profile.dtype)
    inside = profile[low:high].clamp(min=0)
    total = float(inside.sum())
    return float((inside * places).sum()) / total if total > 0 else (low + high - 1) / 2


def _line(cells: list[int], centres: list[float], length: int, size: int) -> Line:
    """The line through measured centres; its stride is the one that shapes suggest, where that fits.

    The nearer to the edge, the less a centre counts. Of three cells or fewer most are, so that shapes alone tell.
    """
    at, seen = torch.tensor(cells, dtype=torch.float64), torch.tensor(centres, dtype=torch.float64)
    weight = torch.minimum(seen, length - 1 - seen).clamp(min=0) + 1e-3
    weight = weight / weight.sum()
    stride, away = length / size, at - (weight * at).sum()
    if float(away.abs().max()) > 0:
        slope = float((weight * away * seen).sum() / (weight * away.square()).sum())
        steep = max(abs(slope), 1e-3)
        likely = (stride,) if size < 4 else (stride, round(stride), 2.0 ** round(math.log2(steep)))
        off, nearest = min((abs(math.log(steep / value)), value) for value in likely if value > 0)
        stride = math.copysign(nearest if size < 4 or off <= NEAR else steep, slope)
    offset = float((weight * (seen - stride * at)).sum())
    return Line(stride, offset, float((weight * (seen - stride * at - offset).square()).sum().sqrt()))
