"""Slide classifier: a two-dimensional encoder looks at each patch of a bag, and attention says which of them matter."""

from typing import Any

import torch
from torch import nn

from medcam.models._attention import GatedAttention, attended
from medcam.models._classifier import Classifier

PRESETS: dict[str, dict[str, Any]] = {"mil_resnet18": {"encoder": "resnet18"}}


class MIL(nn.Module):
    """Multiple instance learning with gated attention (Ilse et al., 2018): one label for a bag of patches.

    The order of the patches says nothing. A patch's evidence for its bag is what `explain(mil.encoder, patches)` gives,
    times its weight: all of it adds up to the bag's logit less the bias.

    Args:
        encoder: one of this folder's image classifiers.
        attention_width: features by which patches are compared.
        at_once: patches per forward pass of the encoder in evaluation mode, so that a large bag fits into memory.
    """

    def __init__(self, encoder: nn.Module, attention_width: int = 128, at_once: int = 64) -> None:
        super().__init__()
        if not isinstance(encoder, Classifier):
            raise ValueError(f"attention needs an encoder with a feature map, which {type(encoder).__name__} lacks")
        self.encoder = encoder
        self.attention = GatedAttention(encoder.features_count, attention_width)
        self.at_once = at_once

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        """Bags (B, N, C, H, W), or one bag (N, C, H, W), to logits (B, K)."""
        logits, weights = self.attended(bag)
        return (logits * weights.unsqueeze(-1)).sum(dim=1)

    def attended(self, bag: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bags to the logits (B, N, K) and the weights (B, N) of their patches."""
        bag = bag if bag.ndim == 5 else bag.unsqueeze(0)
        at_once = None if self.training else self.at_once  # in training, batch normalisation sees the whole bag
        return attended(self.encoder, self.attention, bag.flatten(0, 1), len(bag), at_once)
