"""Guided backpropagation (Springenberg et al. 2015)."""

import torch
from torch import Tensor

from medcam.explainers._guided import guided_gradient
from medcam.explainers._input_gradient import strongest
from medcam.explainers.base import InputMethod, View


class GuidedBackprop(InputMethod):
    """An edge-enhanced illustration, not evidence: it hardly depends on the weights of the upper layers.

    Defined for ReLU networks only (Adebayo et al. 2018, Sanity Checks for Saliency Maps, tell why to be careful).

    Source: Springenberg et al., Striving for Simplicity: The All Convolutional Net, 2015, arXiv 1412.6806.
    """

    name = "guided_backprop"
    paper = "Springenberg et al. 2015, arXiv 1412.6806"
    unit = "arbitrary"
    signed = False
    family = "input gradient"
    forwards = 2

    def maps(self, view: View) -> Tensor:
        """max_c of the size of the guided gradient."""
        targets = range(view.scalars.shape[1])
        return torch.stack([strongest(guided_gradient(view, target)) for target in targets], dim=1)
