"""Cine classifier: a two-dimensional encoder looks at each frame, and attention or pooling brings them together."""

from typing import Any

import torch
from torch import nn

from medcam.models._attention import Attending, attending, folded
from medcam.models._pooling import pool

PRESETS: dict[str, dict[str, Any]] = {
    "video_resnet18": {"encoder": "resnet18", "pooling": "attention"},
    "video_mobilenet_v3_small": {"encoder": "mobilenet_v3_small", "pooling": "attention"},
}


class Video(nn.Module):
    """Frames are folded into the batch, so a map of the encoder's last layer has its own frame.

    Args:
        encoder: images (N, C, H, W) to logits (N, K): any network, or for attention one of this folder's.
        pooling: "mean", "max" or "log-mean-exp" of the frames' logits; or "attention" (`_attention.GatedAttention`).
        attention_width: features by which frames are compared.
    """

    def __init__(self, encoder: nn.Module, pooling: str = "log-mean-exp", attention_width: int = 128) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        if pooling == "attention":
            self.attention = attending(encoder, attention_width).attention

    def forward(self, cine: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W), any T, to logits (B, K)."""
        if self.pooling != "attention":
            return pool(self.frames(cine), self.pooling, (1,))
        logits, weights = self.attended(cine)
        return (logits * weights.unsqueeze(-1)).sum(dim=1)

    def frames(self, cine: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) to the logits of each frame by itself (B, T, K)."""
        logits: torch.Tensor = self.encoder(folded(cine))
        return logits.reshape(len(cine), cine.shape[2], -1)

    def attended(self, cine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """With pooling "attention": (B, C, T, H, W) to logits (B, T, K) and weights (B, T) of the frames."""
        halves = Attending.of(self)
        assert halves is not None
        return halves.bags(folded(cine), len(cine))
