"""ResNet in two or three dimensions, ResNet-18, ResNet-50 and much smaller, built of MONAI's blocks."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.factories import Conv, Dropout, Norm, Pool
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import nn

from medcam.models._classifier import Classifier
from medcam.models._head import Head

PRESETS: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnet50": {"blocks": [3, 4, 6, 3], "bottleneck": True},
}
Stride = int | Sequence[int]


class ResNet(Classifier):
    """He et al., "Deep Residual Learning for Image Recognition", 2016. The default is ResNet-18.

    Fewer stages and smaller strides than the paper's keep cells fine enough to show a small lesion.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: logits.
        widths: channels of each stage; there are as many stages as widths.
        blocks: blocks of each stage.
        strides: stride of each stage, one number or one per axis.
        stem_kernel: odd size of the first convolution.
        stem_stride: its stride, one number or one per axis.
        stem_pool: whether a 3x3 max pooling of stride 2 follows it.
        bottleneck: blocks of three convolutions (ResNet-50) instead of two.
        pooling: of the class map, see `_head.Head`.
        sharpness: of that pooling.
        dropout: share of feature channels dropped before the head while training.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        strides: Sequence[Stride] = (1, 2, 2, 2),
        stem_kernel: int = 7,
        stem_stride: Stride = 2,
        stem_pool: bool = True,
        bottleneck: bool = False,
        pooling: str = "mean",
        sharpness: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        block = ResNetBottleneck if bottleneck else ResNetBlock
        stem = Conv[Conv.CONV, spatial_dims](
            in_channels, widths[0], stem_kernel, stride=_each(stem_stride), padding=stem_kernel // 2, bias=False
        )
        self.stem = nn.Sequential(stem, Norm[Norm.BATCH, spatial_dims](widths[0]), nn.ReLU(inplace=True))
        if stem_pool:
            self.stem.append(Pool[Pool.MAX, spatial_dims](kernel_size=3, stride=2, padding=1))
        self.stages = nn.Sequential()
        channels = widths[0]
        for width, count, stride in zip(widths, blocks, strides, strict=True):
            stage = nn.Sequential()
            for number in range(count):
                step = _each(stride) if number == 0 else 1
                out = width * block.expansion
                shortcut = None
                if number == 0 and (channels != out or stride != 1):
                    shortcut = Convolution(
                        spatial_dims, channels, out, strides=step, kernel_size=1, bias=False, act=None, norm="batch"
                    )
                stage.append(block(channels, width, spatial_dims, stride=step, downsample=shortcut))
                channels = out
            self.stages.append(stage)
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Head(spatial_dims, channels, out_channels, pooling, sharpness)
        for module in self.stages.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, F, *space / strides)."""
        features: torch.Tensor = self.stages(self.stem(image))
        return features


def _each(stride: Stride) -> int | tuple[int, ...]:
    """JSON knows lists only, convolutions want tuples."""
    return stride if isinstance(stride, int) else tuple(stride)
