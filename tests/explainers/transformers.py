"""Small transformers of plain torch: class tokens, registers, any way of attending, any head."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


class Attention(nn.Module):
    """Self-attention: "matrix" multiplies matrices, "fused" is one operation, "torch" is torch's own module."""

    def __init__(self, width: int, heads: int, way: str) -> None:
        super().__init__()
        self.heads, self.way = heads, way
        if way == "torch":
            self.inner = nn.MultiheadAttention(width, heads, batch_first=True)
        else:
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "torch":
            return self.inner(x, x, x, need_weights=False)[0]
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, n, d)
        if self.way == "fused":
            mixed = functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, way: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, way)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tokens(nn.Module):
    """Patches of 4, prefix tokens before them, blocks, a last norm, and a head that reads the first token or the mean.

    Args:
        extras: prefix tokens.
        reads: "first", the first token; "patches", their mean; "all", the mean of all tokens.
    """

    def __init__(
        self,
        axes: int = 2,
        extras: int = 1,
        reads: str = "first",
        way: str = "matrix",
        depth: int = 3,
        classes: int = 3,
        space: tuple[int, ...] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        space = space or (16, 24, 8)[:axes]
        self.patch = CONVOLUTION[axes](1, 12, 4, stride=4)
        cells = math.prod(size // 4 for size in space)
        self.extra = nn.Parameter(torch.randn(1, extras, 12))
        self.position = nn.Parameter(torch.randn(1, cells, 12) * 0.3)
        self.blocks = nn.ModuleList(Block(12, 2, way) for _ in range(depth))
        self.norm, self.fc = nn.LayerNorm(12), nn.Linear(12, classes)
        self.extras, self.reads = extras, reads

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        if self.extras:
            x = torch.cat([self.extra.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.reads == "first":
            return self.fc(x[:, 0])
        return self.fc((x[:, self.extras :] if self.reads == "patches" else x).mean(1))


class Swin(nn.Module):
    """MONAI's shifted windows, and the mean of the last stage, whose tokens are normalised first, or not."""

    def __init__(self, axes: int = 2, normalised: bool = True) -> None:
        from monai.networks.nets.swin_unetr import SwinTransformer

        super().__init__()
        torch.manual_seed(0)
        self.body = SwinTransformer(1, 6, (4,) * axes, (2,) * axes, (2, 2, 1, 1), (2, 2, 2, 2), spatial_dims=axes)
        self.fc, self.normalised = nn.Linear(96, 2), normalised

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x, self.normalised)[-1].flatten(2).mean(2))


def seen(model: Tokens, x: Tensor, target: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Attention matrices (B, heads, n, n), gradients of the target there, and block outputs, from hooks and by hand."""
    matrices: list[Tensor] = []
    outputs: list[Tensor] = []
    handles = []
    for block in model.blocks:
        assert block.attn.way == "matrix"

        def attend(x: Tensor, attn: Attention = block.attn) -> Tensor:
            q, k, v = attn.qkv(x).unflatten(2, (3, attn.heads, -1)).permute(2, 0, 3, 1, 4)
            matrices.append((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1))
            return attn.out((matrices[-1] @ v).transpose(1, 2).flatten(2))

        block.attn.forward = attend  # type: ignore[method-assign]  # only here
        handles.append(block.register_forward_hook(lambda m, args, output: outputs.append(output)))
    try:
        score = model(x)[:, target].sum()
        gradients = torch.autograd.grad(score, matrices, retain_graph=True)
    finally:
        for block, handle in zip(model.blocks, handles, strict=True):
            del block.attn.forward
            handle.remove()
    return matrices, list(gradients), outputs
