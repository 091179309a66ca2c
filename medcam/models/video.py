"""Cine classifier: a two-dimensional encoder looks at each frame, their logits are pooled over time."""

import torch
from torch import nn

from medcam.models._pooling import pool


class Video(nn.Module):
    """Frames are folded into the batch, so a map of the encoder's last layer has its own frame.

    Args:
        encoder: images (N, C, H, W) to logits (N, K), any network.
        pooling: "mean", "max" or "log-mean-exp" over time; or "attention": the encoder's last output is then the
            frame's weight before a softmax over time (Ilse et al., 2018), and there are K - 1 logits.
    """

    def __init__(self, encoder: nn.Module, pooling: str = "log-mean-exp") -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, cine: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W), any T, to logits (B, K)."""
        frames = self.frames(cine)
        if self.pooling == "attention":
            weight = frames[..., -1:].softmax(dim=1)  # (B, T, 1)
            return (frames[..., :-1] * weight).sum(dim=1)
        return pool(frames, self.pooling, (1,))

    def frames(self, cine: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) to the encoder's outputs (B, T, K)."""
        batch, channels, time, height, width = cine.shape
        images = cine.transpose(1, 2).reshape(batch * time, channels, height, width)
        outputs: torch.Tensor = self.encoder(images)
        return outputs.reshape(batch, time, -1)
