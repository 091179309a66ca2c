"""Grad-CAM++ (Chattopadhay et al. 2018)."""

import torch
from torch import Tensor

from medcam.explainers.base import GradientMethod


class GradCAMPlusPlus(GradientMethod):
    """Positive gradients weighted so that several lesions of one class count alike, whatever their size.

    The paper explains exp(logit), whose factor cancels in the weights. Its equation 19 has (sum_q A_q) g^3 in the
    denominator; MONAI and torch-cam put the cube inside the sum, pytorch-grad-cam adds an epsilon that outweighs small
    gradients, and the authors' code divides the weights by their sum. Here it is the equation, divided by g^2 first.
    It assumes activations that are never negative and piece-wise linear layers behind them.

    Source: Chattopadhay et al., Grad-CAM++: Generalized Gradient-based Visual Explanations for Deep Convolutional
    Networks, WACV 2018, arXiv 1710.11063, equations 10, 11 and 19.
    """

    name = "gradcam_plus_plus"
    paper = "Chattopadhay et al. 2018, arXiv 1710.11063"
    unit = "arbitrary"
    signed = False
    scales = False

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """ReLU(sum_k w_k A_k), w_k = sum_p ReLU(g) / (2 + g sum_q A_q)."""
        cells = tuple(range(2, gradient.ndim))
        total = activation.sum(dim=cells, keepdim=True)  # (rows, C, 1, ...)
        positive = gradient.clamp(min=0)
        denominator = 2 + positive * total
        alpha = torch.where(denominator.abs() > 1e-6, 1 / denominator, 0)
        weight = (alpha * positive).sum(dim=cells, keepdim=True)
        return (weight * activation).sum(dim=1).clamp(min=0)
