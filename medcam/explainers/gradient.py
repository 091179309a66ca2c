"""Gradient of the input, "saliency" (Simonyan et al. 2014)."""

import torch
from torch import Tensor

from medcam.explainers._input_gradient import input_gradient, own, strongest
from medcam.explainers.base import InputMethod, View


class Gradient(InputMethod):
    """How much the score would change with each pixel, without saying which way: sensitivity, not evidence.

    Noisy in deep networks, where single gradients shatter; see smoothgrad.

    Source: Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks: Visualising Image Classification
    Models and Saliency Maps, 2014, arXiv 1312.6034, section 3.
    """

    name = "gradient"
    paper = "Simonyan et al. 2014, arXiv 1312.6034"
    unit = "arbitrary"
    signed = False
    family = "input gradient"
    forwards = 2

    def maps(self, view: View) -> Tensor:
        """max_c |dy / dx_c|."""
        targets = range(view.scalars.shape[1])
        return torch.stack([strongest(input_gradient(view, view.capture.x, own(view), k)) for k in targets], dim=1)
