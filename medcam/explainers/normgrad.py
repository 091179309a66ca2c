"""NormGrad (Rebuffi et al. 2020)."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from medcam.errors import UsageError
from medcam.explainers.base import GradientMethod

Virtual = Literal["bias", "scaling", "conv1x1", "conv3x3"]


class NormGrad(GradientMethod):
    """How much each cell would change the weights of an identity layer put behind the explained one.

    Unsigned: it tells which cells are used, not for or against what. Unlike Grad-CAM it stays sharp at early layers;
    the paper multiplies the maps of several layers (`layer=[...]`, `fuse="product"`).

    Args:
        virtual: the identity layer that is thought of: "bias" is ||g||, "scaling" ||a g||, "conv1x1" ||g|| ||a||,
            "conv3x3" ||g|| times the norm of a over the neighbourhood, with zeros outside the map as in the paper.
        selective: only what would make the weights grow: the norm of the positive part ("conv3x3" has none).

    Raises:
        UsageError: "bad-setting".

    Source: Rebuffi, Fong, Ji and Vedaldi, There and Back Again: Revisiting Backpropagation Saliency Methods, CVPR
    2020, arXiv 2004.02866, table 1.
    """

    name = "normgrad"
    paper = "Rebuffi et al. 2020, arXiv 2004.02866"
    unit = "arbitrary"
    signed = False

    def __init__(self, virtual: Virtual = "conv1x1", selective: bool = False) -> None:
        if virtual not in get_args(Virtual) or (selective and virtual == "conv3x3"):
            raise UsageError("bad-setting", f"NormGrad knows {', '.join(get_args(Virtual))}; conv3x3 not selective.")
        self.virtual, self.selective = virtual, selective

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """Frobenius norm of each cell's part in the gradient of the virtual layer's weights."""
        if self.virtual == "bias":
            return _norm(gradient.clamp(min=0) if self.selective else gradient)
        if self.virtual == "scaling":
            product = activation * gradient
            return _norm(product.clamp(min=0) if self.selective else product)
        if self.virtual == "conv3x3":
            return _norm(gradient) * _neighbourhood(activation)
        if not self.selective:
            return _norm(gradient) * _norm(activation)
        both = _norm(gradient.clamp(min=0)) * _norm(activation.clamp(min=0))  # positive entries of g a^T are those
        neither = _norm(gradient.clamp(max=0)) * _norm(activation.clamp(max=0))  # of like sign
        return torch.hypot(both, neither)


def _norm(vectors: Tensor) -> Tensor:
    return vectors.square().sum(dim=1).sqrt()


def _neighbourhood(activation: Tensor) -> Tensor:
    """Norm of a over the cells next to each cell, itself included."""
    average = functional.avg_pool2d if activation.ndim == 4 else functional.avg_pool3d
    squares = activation.square().sum(dim=1, keepdim=True)
    total: Tensor = 3 ** (activation.ndim - 2) * average(squares, 3, 1, 1)
    return total.sqrt()[:, 0]
