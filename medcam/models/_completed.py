"""A large bag of which a few images are looked at again, while the others stay as they were seen."""

import torch
from torch import nn

from medcam.models._attention import Attending, Looked, folded


class Completed(nn.Module):
    """Takes some images of a bag (1, C, n, H, W) and gives the logits (1, K) of the whole bag.

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
        """Of one bag."""
        logits, features = Attending(self.encoder, self.attention).each(folded(bag))
        weights: torch.Tensor = self.attention(torch.cat([features, self._features])[None])[0]  # (N,)
        return (torch.cat([logits, self._logits]) * weights.unsqueeze(-1)).sum(dim=0, keepdim=True)
