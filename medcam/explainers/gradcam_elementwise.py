"""Element-wise Grad-CAM (pytorch-grad-cam's GradCAMElementWise)."""

from torch import Tensor

from medcam.explainers.base import GradientMethod


class GradCAMElementwise(GradientMethod):
    """Gradient times activation, of which only what speaks for the target is kept, channel by channel.

    HiResCAM without the evidence against: channels no longer cancel, so maps are fuller and less faithful.

    Source: the method of that name in pytorch-grad-cam (Gildenblat 2021); there is no paper.
    """

    name = "gradcam_elementwise"
    paper = "Gildenblat 2021, pytorch-grad-cam (no paper)"
    unit = "logit"
    signed = False

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """sum_k ReLU(g_k A_k)."""
        return (gradient * activation).clamp(min=0).sum(dim=1)
