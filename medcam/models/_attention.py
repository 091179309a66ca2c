"""Attention over the images of a bag: which frame, which patch the logits come from."""

import torch
from torch import nn

from medcam.models._classifier import Classifier


class GatedAttention(nn.Module):
    """Ilse et al., "Attention-based Deep Multiple Instance Learning", 2018, equation 9.

    Args:
        features: of an instance.
        hidden: features that are compared (L in the paper).
    """

    def __init__(self, features: int, hidden: int = 128) -> None:
        super().__init__()
        self.value = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden)
        self.weight = nn.Linear(hidden, 1, bias=False)

    def forward(self, instances: torch.Tensor) -> torch.Tensor:
        """Instances (B, N, F) to weights (B, N) that add up to 1."""
        hidden = torch.tanh(self.value(instances)) * torch.sigmoid(self.gate(instances))
        scores: torch.Tensor = self.weight(hidden)  # (B, N, 1)
        return scores.squeeze(-1).softmax(dim=1)


def attended(
    encoder: Classifier, attention: GatedAttention, images: torch.Tensor, batch: int, at_once: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image's own logits, and how much its bag attends to it.

    The weighted sum of the logits is what a head makes of the weighted sum of the features, because a head that
    averages is linear; and so each image's evidence, times its weight, is evidence for the bag.

    Args:
        encoder: looks at each image.
        attention: weighs them by the mean of their feature maps.
        images: (batch * N, C, H, W), the images of each bag in a row.
        batch: bags.
        at_once: images per forward pass of the encoder; all by default.

    Returns:
        Logits (batch, N, K) and weights (batch, N).
    """
    logits, instances = [], []
    for some in images.split(at_once or len(images)):
        features = encoder.feature_map(some)  # (n, F, h, w)
        logits.append(encoder.head(encoder.dropout(features)))
        instances.append(features.flatten(2).mean(2))
    weights = attention(torch.cat(instances).reshape(batch, -1, encoder.features_count))
    return torch.cat(logits).reshape(*weights.shape, -1), weights
