"""A large bag of which a few images are looked at again, while the others stay as they were seen."""

import torch
from torch import nn

from medcam.models._attention import Attending, Looked, folded


class Completed(nn.Module):
    """Takes some images of a bag (B, C, n, H, W) and gives the logits (B, K) of the whole bag.

    Its layers have the names that they have in the network itself.

    Args:
        halves: of the network.
        looked: what it saw in the whole bag.
        again: which of its N images will be given; attention is shared with all the others.
    """

    def __init__(self, halves: Attending, looked: Looked, again: torch.Tensor) -> None:
        super().__init__()
        self.encoder, self.attention = halves.encoder, halves.attention
        others = torch.ones(len(looked.weights), dtype=torch.bool, device=looked.weights.device)
        others[again] = False
        self._logits, self._features = looked.logits.detach()[others], looked.features.detach()[others]

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        """Of several versions (B, C, n, H, W) of these images to logits (B, K)."""
        each = Attending(self.encoder, self.attention).each(folded(bag))
        own = (values.reshape(len(bag), -1, values.shape[-1]) for values in each)  # (B, n, K) and (B, n, F)
        logits, features = (
            torch.cat([values, others.expand(len(bag), *others.shape)], dim=1)
            for values, others in zip(own, (self._logits, self._features), strict=True)
        )
        weights: torch.Tensor = self.attention(features)  # (B, N)
        return (logits * weights.unsqueeze(-1)).sum(dim=1)
