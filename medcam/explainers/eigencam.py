"""Eigen-CAM (Muhammad and Yeasin 2020)."""

from medcam.explainers._principal import principal, turned, weak
from medcam.explainers.base import Located, Method, View


class EigenCAM(Method):
    """The first principal component of the activations: what the network looks at, whatever it then says.

    The same for every target. As in the paper nothing is centred where activations are never negative; there the map
    is never negative either. Signed activations are centred, as pytorch-grad-cam always does, and the sign is the one
    that goes along with the activations' strength, where a singular vector's own sign is a matter of chance.

    Args:
        centre: subtract each channel's mean; by default where activations are signed.

    Source: Muhammad and Yeasin, Eigen-CAM: Class Activation Map using Principal Components, IJCNN 2020, arXiv
    2008.00299.
    """

    name = "eigencam"
    paper = "Muhammad and Yeasin 2020, arXiv 2008.00299"
    unit = "arbitrary"
    signed = True
    family = "activation"
    class_specific = False
    tail_backwards = 0

    def __init__(self, centre: bool | None = None) -> None:
        self.centre = centre

    def located(self, view: View) -> Located:
        batch, targets = view.scalars.shape
        activation = view.arrangement.evidence(view.activation, batch)  # (B, C, *grid)
        centre = (activation < 0).flatten(1).any(1) if self.centre is None else self.centre
        maps, share = principal(activation, centre)
        maps = turned(maps, activation.square().sum(dim=1))
        evidence = maps[:, None].expand(-1, targets, *[-1] * (maps.ndim - 1))
        return Located(evidence, view.alignment, weak(share))
