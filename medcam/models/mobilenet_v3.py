"""MobileNetV3, large and small, in two or three dimensions, for machines without an accelerator."""

from typing import Any

import torch
from monai.networks.layers.factories import Conv, Dropout
from torch import nn

from medcam.models._classifier import Classifier
from medcam.models._head import Head
from medcam.models._inverted_residual import Row, Style, divisible

PRESETS: dict[str, dict[str, Any]] = {
    "mobilenet_v3_large": {"variant": "large"},
    "mobilenet_v3_small": {"variant": "small"},
}
RE, HS = "relu", "hard-swish"
TABLES = {
    # kernel, expanded, channels, squeeze-excitation, activation, stride
    "large": (
        (3, 16, 16, False, RE, 1),
        (3, 64, 24, False, RE, 2),
        (3, 72, 24, False, RE, 1),
        (5, 72, 40, True, RE, 2),
        (5, 120, 40, True, RE, 1),
        (5, 120, 40, True, RE, 1),
        (3, 240, 80, False, HS, 2),
        (3, 200, 80, False, HS, 1),
        (3, 184, 80, False, HS, 1),
        (3, 184, 80, False, HS, 1),
        (3, 480, 112, True, HS, 1),
        (3, 672, 112, True, HS, 1),
        (5, 672, 160, True, HS, 2),
        (5, 960, 160, True, HS, 1),
        (5, 960, 160, True, HS, 1),
    ),
    "small": (
        (3, 16, 16, True, RE, 2),
        (3, 72, 24, False, RE, 2),
        (3, 88, 24, False, RE, 1),
        (5, 96, 40, True, HS, 2),
        (5, 240, 40, True, HS, 1),
        (5, 240, 40, True, HS, 1),
        (5, 120, 48, True, HS, 1),
        (5, 144, 48, True, HS, 1),
        (5, 288, 96, True, HS, 2),
        (5, 576, 96, True, HS, 1),
        (5, 576, 96, True, HS, 1),
    ),
}
"""Tables 1 and 2 of the paper."""
WIDE = {"large": 1280, "small": 1024}


class MobileNetV3(Classifier):
    """Howard et al., "Searching for MobileNetV3", 2019.

    The paper pools before its last wide layer to save time. Here that layer looks at each cell and pooling comes
    after it, so that the class map behind it is exactly what the logits are made of; of one cell it is the same.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: logits.
        variant: "large" or "small".
        width: factor on the channels of all layers.
        output_stride: pixels per cell of the map: 32, or 16 or 8 for finer cells at more cost, with the same weights.
        pooling: of the class map, see `_head.Head`.
        sharpness: of that pooling.
        dropout: share of feature channels dropped before the head while training.
        norm_epsilon: of the batch normalisation; the published one is rather large.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        variant: str = "large",
        width: float = 1.0,
        output_stride: int = 32,
        pooling: str = "mean",
        sharpness: float = 1.0,
        dropout: float = 0.0,
        norm_epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        if variant not in TABLES:
            raise ValueError(f"there is no MobileNetV3 {variant!r}: it is large or small")
        style, channels, rows = Style(spatial_dims, norm_epsilon), divisible(16 * width), []
        for kernel, expanded, out, gated, activation, stride in TABLES[variant]:
            inner = divisible(expanded * width)
            squeezed = divisible(inner // 4) if gated else 0
            rows.append(Row(kernel, inner, divisible(out * width), squeezed, activation, stride))
        last, wide = 6 * rows[-1].out, divisible(WIDE[variant] * max(1.0, width))
        self.stem = style.layer(in_channels, channels, 3, 2, HS)
        self.blocks = style.blocks(channels, rows, output_stride=output_stride)
        self.last = style.layer(rows[-1].out, last, activation=HS)
        self.wide = nn.Sequential(Conv[Conv.CONV, spatial_dims](last, wide, 1), nn.Hardswish())
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Head(spatial_dims, wide, out_channels, pooling, sharpness)

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, 1280 or 1024, *space / output_stride)."""
        features: torch.Tensor = self.wide(self.last(self.blocks(self.stem(image))))
        return features
