"""What every image classifier here is: a feature map, dropout, and a head that makes it logits."""

import torch
from torch import nn

from medcam.models._head import Head


class Classifier(nn.Module):
    """A network whose head is a class map, so that its evidence adds up to its logits.

    Subclasses set `dropout` and `head` and write `feature_map`.
    """

    dropout: nn.Module
    head: Head

    def feature_map(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to the map that the head sees, (B, F, *cells)."""
        raise NotImplementedError

    @property
    def features_count(self) -> int:
        """F, the channels of the feature map."""
        return self.head.in_channels

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """One feature vector for each image, (B, F): the mean over the cells."""
        return self.feature_map(image).flatten(2).mean(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, C, *space) to logits (B, K)."""
        logits: torch.Tensor = self.head(self.dropout(self.feature_map(image)))
        return logits
