"""The end of a classifier: a class map at the features' resolution, pooled to one logit per class."""

import torch
from monai.networks.layers.factories import Conv
from torch import nn

from medcam.models._pooling import pool


class Head(nn.Module):
    """A 1x1 convolution without bias, pooled over space, plus a bias per class.

    With pooling "mean" it equals global average pooling and a linear layer. With "log-sum-exp" a small lesion in a
    large volume is not diluted. Since the map has no bias of its own, a cell is positive exactly where it speaks for
    the class, and Grad-CAM of the features is the positive part of the map, whatever the pooling: healthy cells stay
    cold.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, pooling: str = "mean", sharpness: float = 1.0
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.map: nn.Module = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, kernel_size=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        # nearly all cells are healthy: most start out speaking against the class (the prior of Lin et al., 2017)
        nn.init.normal_(self.map.weight, mean=-2 / in_channels, std=in_channels**-0.5)
        self.pooling, self.sharpness = pooling, sharpness

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to logits (B, K)."""
        evidence = self.map(features)  # (B, K, *space)
        return pool(evidence, self.pooling, tuple(range(2, evidence.ndim)), self.sharpness) + self.bias
