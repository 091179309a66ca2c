"""LayerCAM (Jiang et al. 2021)."""

from torch import Tensor

from medcam.explainers.base import GradientMethod


class LayerCAM(GradientMethod):
    """Activation weighted by its own positive gradient: holds at early layers too, but shows no evidence against.

    Source: Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE TIP 2021,
    equations 5 to 7; the scaling for fusing several layers (equation 9) is not part of it.
    """

    name = "layercam"
    paper = "Jiang et al. 2021, IEEE TIP, doi 10.1109/TIP.2021.3089943"
    unit = "logit"
    signed = False

    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """ReLU(sum_k ReLU(g_k) A_k)."""
        return (gradient.clamp(min=0) * activation).sum(dim=1).clamp(min=0)
