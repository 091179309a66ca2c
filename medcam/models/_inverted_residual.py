"""Inverted residuals, of which MobileNets and EfficientNets are made: widen, look at each channel alone, narrow."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from monai.networks.layers import DropPath
from monai.networks.layers.factories import Conv, Norm, Pad
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard-swish": nn.Hardswish,
    "hard-sigmoid": nn.Hardsigmoid,
    "swish": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}


class Row(NamedTuple):
    """One block, a row of a paper's table."""

    kernel: int
    expanded: int
    """Channels inside of the block."""
    out: int
    squeezed: int
    """Channels of the squeeze-excitation's bottleneck; 0 for none."""
    activation: str
    stride: int


@dataclass(frozen=True)
class Style:
    """What all layers of a network share."""

    spatial_dims: int = 2
    epsilon: float = 1e-5
    """Of the batch normalisation."""
    padding: str = "symmetric"
    """"tensorflow" puts the odd cell of a strided layer's padding at the far end, as there for even sizes."""
    gate: tuple[str, str] = ("relu", "hard-sigmoid")
    """Activations of squeeze-excitation."""

    def layer(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        activation: str = "",
        *,
        groups: int = 1,
        dilation: int = 1,
    ) -> nn.Sequential:
        """Convolution without bias, batch normalisation, activation."""
        if self.padding not in ("symmetric", "tensorflow"):
            raise ValueError(f"there is no padding {self.padding!r}: it is symmetric or tensorflow")
        reach = dilation * (kernel - 1)
        uneven = self.padding == "tensorflow" and stride == 2
        convolution = Conv[Conv.CONV, self.spatial_dims](
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=0 if uneven else reach // 2,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if uneven:
            before = (reach - 1) // 2
            layers["pad"] = Pad[Pad.CONSTANTPAD, self.spatial_dims]((before, reach - 1 - before) * self.spatial_dims, 0)
        layers["conv"] = convolution
        layers["norm"] = Norm[Norm.BATCH, self.spatial_dims](out_channels, eps=self.epsilon)
        if activation:
            layers["act"] = ACTIVATIONS[activation]()
        nn.init.normal_(convolution.weight, std=(2 / (kernel**self.spatial_dims * out_channels / groups)) ** 0.5)
        return nn.Sequential(layers)

    def blocks(
        self, in_channels: int, rows: Sequence[Row], *, output_stride: int, drop_path: float = 0.0
    ) -> nn.Sequential:
        """The blocks of a table behind a stem of stride 2, dilated rather than strided from `output_stride` on."""
        blocks, reached, dilation = nn.Sequential(), 2, 1
        for number, row in enumerate(rows):
            stride = row.stride if reached * row.stride <= output_stride else 1
            rate = drop_path * number / len(rows)  # the deeper, the more often (Huang et al., 2016)
            blocks.append(InvertedResidual(self, in_channels, row, stride, dilation, rate))
            dilation *= row.stride // stride  # the layer that would have halved still sees what it saw
            in_channels, reached = row.out, reached * stride
        return blocks


class Gate(nn.Module):
    """Squeeze-excitation (Hu et al., 2018): each channel scaled by what the whole image says."""

    def __init__(self, style: Style, channels: int, squeezed: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, style.spatial_dims]
        self.reduce = convolution(channels, squeezed, 1)
        self.act = ACTIVATIONS[style.gate[0]]()
        self.expand = convolution(squeezed, channels, 1)
        self.scale = ACTIVATIONS[style.gate[1]]()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to the same."""
        whole = features.mean(tuple(range(2, features.ndim)), keepdim=True)  # (B, C, 1, ...)
        scale: torch.Tensor = self.scale(self.expand(self.act(self.reduce(whole))))
        return features * scale


class InvertedResidual(nn.Module):
    """Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, with the gate of MobileNetV3."""

    def __init__(
        self, style: Style, in_channels: int, row: Row, stride: int, dilation: int = 1, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if row.expanded != in_channels:
            layers["expand"] = style.layer(in_channels, row.expanded, activation=row.activation)
        layers["depthwise"] = style.layer(
            row.expanded,
            row.expanded,
            row.kernel,
            stride,
            row.activation,
            groups=row.expanded,
            dilation=dilation,
        )
        if row.squeezed:
            layers["gate"] = Gate(style, row.expanded, row.squeezed)
        layers["project"] = style.layer(row.expanded, row.out)
        self.layers = nn.Sequential(layers)
        self.drop_path = DropPath(drop_path)
        self.residual = row.stride == 1 and in_channels == row.out

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, row.out, *space / stride)."""
        changed: torch.Tensor = self.layers(features)
        return features + self.drop_path(changed) if self.residual else changed


def divisible(channels: float, by: int = 8) -> int:
    """The papers' rounding of channels: to the nearest multiple, but never by more than a tenth down."""
    nearest = max(by, math.floor(channels + by / 2) // by * by)
    return nearest + by if nearest < 0.9 * channels else nearest
