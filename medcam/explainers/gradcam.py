"""Grad-CAM (Selvaraju et al. 2017)."""

from torch import Tensor

from medcam.explainers.base import GradientMethod


class GradCAM(GradientMethod):
    """Channels weighted by their mean gradient; the sign is kept, so that ReLU(-map) is the counterfactual map.

    For a network that ends with average pooling and a linear layer, the cells sum up to the logit less its bias.
    With a flattening head the mean gradient is not faithful: use HiResCAM there.

    Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
    ICCV 2017, arXiv 1610.02391, equations 1 and 2 (without the ReLU, which is left to the display).
    """

    name = "gradcam"
    paper = "Selvaraju et al. 2017, arXiv 1610.02391"
    unit = "logit"
    signed = True

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """sum_k mean_p(g_k) A_k."""
        cells = tuple(range(2, gradient.ndim))
        weight = gradient.mean(dim=cells, keepdim=True)  # (rows, C, 1, ...)
        return (weight * activation).sum(dim=1)
