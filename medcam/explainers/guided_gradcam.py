"""Guided Grad-CAM (Selvaraju et al. 2017)."""

import torch

from medcam.explainers._alignment import whole
from medcam.explainers._fusion import moved
from medcam.explainers._guided import guided_gradient
from medcam.explainers._input_gradient import strongest
from medcam.explainers.base import Located, Method, View


class GuidedGradCAM(Method):
    """Guided backpropagation where Grad-CAM is positive: fine edges at the right place, still an illustration.

    Grad-CAM's map is brought to the input by the layer's exact place before it is multiplied.

    Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
    ICCV 2017, arXiv 1610.02391, section 3.2.
    """

    name = "guided_gradcam"
    paper = "Selvaraju et al. 2017, arXiv 1610.02391"
    unit = "arbitrary"
    signed = False
    family = "input gradient"
    forwards = tail_backwards = 2
    replays = False

    def located(self, view: View) -> Located:
        """ReLU(Grad-CAM) at the input times max_c |guided gradient|."""
        batch, input_place = len(view.capture.x), whole(view.capture.x.shape[2:])
        activation = view.activation
        cells = tuple(range(2, activation.ndim))
        maps = []
        for target in range(view.scalars.shape[1]):
            weight = view.gradient(target).mean(dim=cells, keepdim=True)
            coarse = view.arrangement.evidence((weight * activation).sum(dim=1, keepdim=True), batch)  # (B, 1, *grid)
            fine = moved(coarse.clamp(min=0), view.alignment, input_place)[:, 0]
            maps.append(fine * strongest(guided_gradient(view, target)))
        return Located(torch.stack(maps, dim=1), input_place)
