"""XGrad-CAM (Fu et al. 2020)."""

import torch
from torch import Tensor

from medcam.explainers.base import GradientMethod

LEAST = 1e-6
"""A channel whose values cancel down to this share of their sizes has no weight: its mean activation is noise."""


class XGradCAM(GradientMethod):
    """Channels weighted by their gradient averaged where they are active: the cells sum up as HiResCAM's do.

    Where a linear layer follows average pooling it equals Grad-CAM. It assumes activations that are never negative;
    channels whose values cancel are left out, where other implementations divide by nearly nothing.

    Source: Fu et al., Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs, BMVC 2020, arXiv
    2008.02312, equation 7 (without the ReLU, which is left to the display).
    """

    name = "xgradcam"
    paper = "Fu et al. 2020, arXiv 2008.02312"
    unit = "logit"
    signed = True

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """sum_k a_k A_k, a_k = sum_p g_k A_k / sum_p A_k."""
        cells = tuple(range(2, gradient.ndim))
        total = activation.sum(dim=cells, keepdim=True)  # (rows, C, 1, ...)
        usable = total.abs() > LEAST * activation.abs().sum(dim=cells, keepdim=True)
        share = (gradient * activation).sum(dim=cells, keepdim=True) / torch.where(usable, total, 1)
        return (torch.where(usable, share, 0) * activation).sum(dim=1)
