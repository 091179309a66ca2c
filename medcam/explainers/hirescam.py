"""HiResCAM (Draelos and Carin 2020)."""

from torch import Tensor

from medcam.explainers.base import GradientMethod


class HiResCAM(GradientMethod):
    """Activation times gradient at each cell, summed over channels: faithful for any head with one linear layer.

    Where one linear layer follows, flattening heads included, the cells sum up to the logit less its bias.

    Source: Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks, arXiv 2011.08891 (without the ReLU, which is left to the display).
    """

    name = "hirescam"
    paper = "Draelos and Carin 2020, arXiv 2011.08891"
    unit = "logit"
    signed = True

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """sum_k g_k A_k."""
        return (gradient * activation).sum(dim=1)
