"""Guided backpropagation: a ReLU lets pass back only what is positive, wherever in the network it is written."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from medcam.errors import ExplainError
from medcam.explainers._input_gradient import input_gradient, own
from medcam.explainers.base import View

IN_PLACE = (torch.relu_, Tensor.relu_, torch.nn.functional.relu_)
RELU = (torch.relu, Tensor.relu, torch.nn.functional.relu, *IN_PLACE)


def guided_gradient(view: View, target: int) -> Tensor:
    """(B, C, *space): the guided gradient of one target with respect to the input.

    Raises:
        ExplainError: "no-relu", the network has none; for SiLU, GELU and their like there is no such rule.
    """
    with _Guided() as guided:
        gradient = input_gradient(view, view.capture.x, own(view), target)
    if not guided.used:
        raise ExplainError("no-relu", "The model uses no ReLU, for which alone guided backpropagation is defined.")
    return gradient


class _Guide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out: Tensor = x.clamp(min=0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        guided: Tensor = gradients[0].clamp(min=0) * (out > 0)
        return guided


class _Guided(TorchFunctionMode):
    """Within, every ReLU is a guided one: modules, functions and in-place forms alike."""

    used = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func not in RELU:
            return func(*args, **(kwargs or {}))
        self.used = True
        value: Tensor = args[0] if args else (kwargs or {})["input"]
        out: Tensor = _Guide.apply(value)  # type: ignore[no-untyped-call]  # untyped in torch
        return value.copy_(out) if func in IN_PLACE else out
