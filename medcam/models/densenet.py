"""DenseNet in two or three dimensions, DenseNet-121 and smaller, with MONAI's layers."""

from collections.abc import Sequence
from typing import Any

import monai.networks.nets as nets
import torch
from monai.networks.layers.factories import Conv, Dropout
from torch import nn

from medcam.models._classifier import Classifier
from medcam.models._head import Head

PRESETS: dict[str, dict[str, Any]] = {"densenet121": {}}


class DenseNet(Classifier):
    """Huang et al., "Densely Connected Convolutional Networks", 2017. The default is DenseNet-121.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: logits.
        init_features: channels of the first convolution.
        growth_rate: channels that each layer adds.
        block_config: layers of each dense block; between blocks the resolution halves.
        stem_stride: stride of the first convolution.
        stem_pool: whether a 3x3 max pooling of stride 2 follows it.
        pooling: of the class map, see `_head.Head`.
        sharpness: of that pooling.
        dropout: share of feature channels dropped before the head while training.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        init_features: int = 64,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        stem_stride: int = 2,
        stem_pool: bool = True,
        pooling: str = "mean",
        sharpness: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        whole = nets.DenseNet(spatial_dims, in_channels, out_channels, init_features, growth_rate, tuple(block_config))
        self.features = whole.features
        if stem_stride != 2:
            self.features.conv0 = Conv[Conv.CONV, spatial_dims](
                in_channels, init_features, kernel_size=7, stride=stem_stride, padding=3, bias=False
            )
        if not stem_pool:
            del self.features.pool0
        self.relu = nn.ReLU()
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Head(spatial_dims, whole.class_layers.out.in_features, out_channels, pooling, sharpness)

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, F, *cells)."""
        features: torch.Tensor = self.relu(self.features(image))
        return features
