"""Eigen-Grad-CAM (pytorch-grad-cam's EigenGradCAM)."""

import torch
from torch import Tensor

from medcam.explainers._principal import principal, turned, weak
from medcam.explainers.base import Located, Method, View


class EigenGradCAM(Method):
    """The first principal component of gradient times activation: Eigen-CAM that knows the target.

    The sign is the one that goes along with HiResCAM, so that positive speaks for the target.

    Args:
        centre: subtract each channel's mean before.

    Source: the method of that name in pytorch-grad-cam (Gildenblat 2021), which centres and leaves the sign to
    chance; after Muhammad and Yeasin 2020, arXiv 2008.00299.
    """

    name = "eigengradcam"
    paper = "Gildenblat 2021, pytorch-grad-cam, after arXiv 2008.00299"
    unit = "arbitrary"
    signed = True

    def __init__(self, centre: bool = False) -> None:
        self.centre = centre

    def located(self, view: View) -> Located:
        batch, targets = view.scalars.shape
        maps: list[Tensor] = []
        notes: list[str] = []
        for target in range(targets):
            product = view.arrangement.evidence(view.activation * view.gradient(target), batch)  # (B, C, *grid)
            component, share = principal(product, self.centre)
            maps.append(turned(component, product.sum(dim=1)))
            notes += weak(share)
        return Located(torch.stack(maps, dim=1), view.alignment, tuple(dict.fromkeys(notes)))
