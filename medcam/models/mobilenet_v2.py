"""MobileNetV2 in two or three dimensions: three and a half million parameters, for machines without an accelerator."""

from typing import Any

import torch
from monai.networks.layers.factories import Dropout

from medcam.models._classifier import Classifier
from medcam.models._head import Head
from medcam.models._inverted_residual import Row, Style, divisible

PRESETS: dict[str, dict[str, Any]] = {"mobilenet_v2": {}}
TABLE = (
    # expansion, channels, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper."""


class MobileNetV2(Classifier):
    """Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: logits.
        width: factor on the channels of all layers.
        output_stride: pixels per cell of the map: 32, or 16 or 8 for finer cells at more cost, with the same weights.
        pooling: of the class map, see `_head.Head`.
        sharpness: of that pooling.
        dropout: share of feature channels dropped before the head while training.
        norm_epsilon: of the batch normalisation.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        width: float = 1.0,
        output_stride: int = 32,
        pooling: str = "mean",
        sharpness: float = 1.0,
        dropout: float = 0.0,
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        style = Style(spatial_dims, norm_epsilon)
        rows: list[Row] = []
        channels = divisible(32 * width)
        for expansion, out, blocks, first in TABLE:
            for number in range(blocks):
                before = rows[-1].out if rows else channels
                stride = first if number == 0 else 1
                rows.append(Row(3, before * expansion, divisible(out * width), 0, "relu6", stride))
        last = divisible(1280 * max(1.0, width))
        self.stem = style.layer(in_channels, channels, 3, 2, "relu6")
        self.blocks = style.blocks(channels, rows, output_stride=output_stride)
        self.last = style.layer(rows[-1].out, last, activation="relu6")
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Head(spatial_dims, last, out_channels, pooling, sharpness)

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, 1280, *space / output_stride)."""
        features: torch.Tensor = self.last(self.blocks(self.stem(image)))
        return features
