"""Gradients of the explained scalars with respect to the model's input, through the whole network."""

import torch
from torch import Tensor

from medcam.errors import ExplainError
from medcam.explainers.base import View


def input_gradient(view: View, inputs: Tensor, samples: Tensor, target: int) -> Tensor:
    """(N, C, *space) in float32: of each input's own scalar for one target.

    Args:
        inputs: (N, C, *space).
        samples: (N,) which sample of the batch each of them stands for.

    Raises:
        ExplainError: "no-gradient", the model computes its output without a graph.
    """
    inputs = inputs.detach().clone().requires_grad_()
    scalars = view.targets.of(view.capture.model(inputs), samples)[:, target]
    if not scalars.requires_grad:
        raise ExplainError("no-gradient", "No gradient reaches the input: the model computes without a graph.")
    (gradient,) = torch.autograd.grad(scalars.sum(), inputs)
    return gradient.float()


def own(view: View) -> Tensor:
    """(B,): every sample stands for itself."""
    return torch.arange(len(view.capture.x), device=view.capture.x.device)


def strongest(gradient: Tensor) -> Tensor:
    """(N, C, *space) to (N, *space): the largest size over channels, as Simonyan et al. 2014 draw it."""
    return gradient.abs().amax(dim=1)
