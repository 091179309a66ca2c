"""Vision transformer in two or three dimensions: ViT-B/16, and a small one to train from nothing."""

from collections.abc import Sequence
from math import log2
from typing import Any

import torch
from monai.networks.blocks import MLPBlock
from monai.networks.blocks.selfattention import SABlock
from monai.networks.layers import DropPath
from monai.networks.layers.factories import Conv, Dropout, Norm
from torch import nn

from medcam.models._classifier import Classifier
from medcam.models._head import Head
from medcam.models._position import on_grid

PRESETS: dict[str, dict[str, Any]] = {
    "vit_b_16": {"size": 224, "pooling": "cls"},
    "vit_small": {"size": 160, "width": 192, "depth": 6, "heads": 6, "convolutional_stem": True, "drop_path": 0.1},
}


class ViT(Classifier):
    """Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021. The default is ViT-B/16.

    Images may have any size: the position embedding is interpolated to it, and where the last patch would reach over
    the edge, zeros are added at the far end, so that no pixel goes unseen.

    Behind the last block with pooling "cls" only the class token reaches the logits. The patches' last gradients are
    in that block's attention: explain `blocks.<last>.norm1`. Attention weights (B, heads, tokens, tokens) pass through
    `blocks.<n>.attn.drop_weights`.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: logits.
        size: pixels per axis that the position embedding is made for, one number or one per axis.
        patch: pixels per axis of a patch, one number or one per axis.
        width: features of a token.
        depth: blocks.
        heads: of the attention.
        mlp_ratio: hidden width of each block's perceptron over `width`.
        pooling: "cls", a class token; else of the patches' class map, see `_head.Head`.
        sharpness: of that pooling.
        dropout: share of feature channels dropped before the head while training.
        drop_path: how often the last block is skipped while training; earlier ones less often.
        norm_epsilon: of the layer normalisation.
        convolutional_stem: patches come from a few small convolutions of stride 2, which learns much faster from few
            images (Xiao et al., "Early Convolutions Help Transformers See Better", 2021); patches are powers of two.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        size: int | Sequence[int] = 224,
        patch: int | Sequence[int] = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        pooling: str = "mean",
        sharpness: float = 1.0,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_epsilon: float = 1e-6,
        convolutional_stem: bool = False,
    ) -> None:
        super().__init__()
        size, self.patch = _each(size, spatial_dims), _each(patch, spatial_dims)
        grid = [-(-pixels // step) for pixels, step in zip(size, self.patch, strict=True)]
        if convolutional_stem:
            self.patch_embedding = _convolutions(spatial_dims, in_channels, width, self.patch)
        else:
            self.patch_embedding = Conv[Conv.CONV, spatial_dims](in_channels, width, self.patch, self.patch)
        self.position = nn.Parameter(torch.zeros(1, width, *grid))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if pooling == "cls" else None
        rates = [drop_path * number / max(depth - 1, 1) for number in range(depth)]
        hidden = int(width * mlp_ratio)
        self.blocks = nn.Sequential(*(Block(width, heads, hidden, rate, norm_epsilon) for rate in rates))
        self.norm = nn.LayerNorm(width, eps=norm_epsilon)
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.position, std=0.02)
        self.head = Head(spatial_dims, width, out_channels, "mean" if pooling == "cls" else pooling, sharpness)

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to (B, width, *space / patch); with pooling "cls" to one cell."""
        patches = self.patch_embedding(self._padded(image))  # (B, width, *grid)
        grid = patches.shape[2:]
        tokens = (patches + on_grid(self.position, grid)).flatten(2).transpose(1, 2)  # (B, patches, width)
        if self.cls_token is None:
            features: torch.Tensor = self.norm(self.blocks(tokens)).transpose(1, 2)
            return features.reshape(*features.shape[:2], *grid)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        token: torch.Tensor = self.norm(self.blocks(tokens))[:, 0]
        return token.reshape(*token.shape, *[1] * len(grid))

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        missing = [-pixels % step for pixels, step in zip(image.shape[2:], self.patch, strict=True)]
        if not any(missing):
            return image
        return nn.functional.pad(image, [amount for axis in reversed(missing) for amount in (0, axis)])


class Block(nn.Module):
    """Attention among the tokens, then a perceptron of each, both on normalised tokens and added to them."""

    def __init__(self, width: int, heads: int, hidden: int, drop_path: float, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = SABlock(width, heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = MLPBlock(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, tokens, width) to the same."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        mixed: torch.Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return mixed


def _convolutions(spatial_dims: int, in_channels: int, width: int, patch: Sequence[int]) -> nn.Sequential:
    """Convolutions of stride 2 until a cell is a patch, doubling the channels, then one of 1x1.

    Their kernels are even, so that each cell stays at the centre of its patch.
    """
    halvings = [int(log2(step)) for step in patch]
    if any(2**count != step for count, step in zip(halvings, patch, strict=True)):
        raise ValueError(f"patches of a convolutional stem are powers of two, not {list(patch)}")
    layers, channels = nn.Sequential(), in_channels
    for number in range(max(halvings)):
        halved = [number < count for count in halvings]
        kernel, stride = tuple(4 if half else 3 for half in halved), tuple(2 if half else 1 for half in halved)
        out = max(width >> (max(halvings) - 1 - number), 8)
        layers.append(Conv[Conv.CONV, spatial_dims](channels, out, kernel, stride, padding=1, bias=False))
        layers.extend([Norm[Norm.BATCH, spatial_dims](out), nn.ReLU()])
        channels = out
    return layers.append(Conv[Conv.CONV, spatial_dims](channels, width, 1))


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)
