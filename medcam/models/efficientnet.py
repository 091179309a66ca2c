"""EfficientNet, B0 and its scaled siblings, in two or three dimensions."""

import math
from typing import Any

import torch
from monai.networks.layers.factories import Dropout

from medcam.models._classifier import Classifier
from medcam.models._head import Head
from medcam.models._inverted_residual import Row, Style, divisible

PRESETS: dict[str, dict[str, Any]] = {"efficientnet_b0": {}}
TABLE = (
    # expansion, kernel, channels, blocks, stride of the first
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
"""Table 1 of the paper."""


class EfficientNet(Classifier):
    """Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019.

    Written anew rather than wrapped: MONAI's fixes its padding for one image size when it is made, and its activation
    hides from what follows the cells' places. With padding "tensorflow" and a norm_epsilon of 0.001 it equals MONAI's.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: logits.
        width: factor on the channels of all layers (B2: 1.1).
        depth: factor on the number of blocks (B2: 1.2).
        output_stride: pixels per cell of the map: 32, or 16 or 8 for finer cells at more cost, with the same weights.
        pooling: of the class map, see `_head.Head`.
        sharpness: of that pooling.
        dropout: share of feature channels dropped before the head while training.
        drop_path: how often the last block is skipped while training; earlier ones less often.
        norm_epsilon: of the batch normalisation.
        padding: "symmetric", or "tensorflow" for weights that come from there.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        width: float = 1.0,
        depth: float = 1.0,
        output_stride: int = 32,
        pooling: str = "mean",
        sharpness: float = 1.0,
        dropout: float = 0.0,
        drop_path: float = 0.2,
        norm_epsilon: float = 1e-5,
        padding: str = "symmetric",
    ) -> None:
        super().__init__()
        style = Style(spatial_dims, norm_epsilon, padding, gate=("swish", "sigmoid"))
        rows: list[Row] = []
        channels = divisible(32 * width)
        for expansion, kernel, out, blocks, first in TABLE:
            for number in range(math.ceil(blocks * depth)):
                before = rows[-1].out if rows else channels
                stride = first if number == 0 else 1
                rows.append(
                    Row(kernel, before * expansion, divisible(out * width), max(1, before // 4), "swish", stride)
                )
        last = divisible(1280 * width)
        self.stem = style.layer(in_channels, channels, 3, 2, "swish")
        self.blocks = style.blocks(channels, rows, output_stride=output_stride, drop_path=drop_path)
        self.last = style.layer(rows[-1].out, last, activation="swish")
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Head(spatial_dims, last, out_channels, pooling, sharpness)

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, 1280, *space / output_stride)."""
        features: torch.Tensor = self.last(self.blocks(self.stem(image)))
        return features
