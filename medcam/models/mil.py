"""Slide classifier: a two-dimensional encoder looks at each patch of a bag, and attention says which of them matter."""

from typing import Any

import torch
from torch import nn

from medcam.models._attention import Attending, attending, folded

PRESETS: dict[str, dict[str, Any]] = {
    "mil_resnet18": {"encoder": "resnet18"},
    "mil_mobilenet_v3_small": {"encoder": "mobilenet_v3_small"},
}


class MIL(nn.Module):
    """Multiple instance learning with gated attention (Ilse et al., 2018): one label for a bag of patches.

    The order of the patches says nothing. `explain(mil, bag)` gives a map for each patch; at the layer
    "encoder.head.map" it is the patch's own evidence times its weight, and all of it adds up to the bag's logit less
    the bias. Bags of different sizes, and bags too large for memory, are for `_attention.Attending.look`.

    Args:
        encoder: one of this folder's image classifiers.
        attention_width: features by which patches are compared.
    """

    def __init__(self, encoder: nn.Module, attention_width: int = 128) -> None:
        super().__init__()
        halves = attending(encoder, attention_width)
        self.encoder, self.attention = halves.encoder, halves.attention

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        """Bags (B, C, N, H, W), any N, to logits (B, K)."""
        logits, weights = self.attended(bag)
        return (logits * weights.unsqueeze(-1)).sum(dim=1)

    def attended(self, bag: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bags (B, C, N, H, W) to the logits (B, N, K) and the weights (B, N) of their patches."""
        return Attending(self.encoder, self.attention).bags(folded(bag), len(bag))
