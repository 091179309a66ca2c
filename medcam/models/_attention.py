"""Attention over the images of a bag: which frame, which patch the logits come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from medcam.errors import ModelError
from medcam.models._classifier import Classifier

FEATURES = "the features that the head attends to"
"""What to call `Looked.embedded`, where others name the layer that their features are of."""
AT_ONCE = 64
"""Images of a large bag in one forward pass of the encoder, where no gradient is needed."""


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


@dataclass(frozen=True)
class Looked:
    """What a network that attends sees in bags of different sizes: N images, those of each bag in a row."""

    logits: torch.Tensor
    """(N, K) of each image by itself."""
    weights: torch.Tensor
    """(N,): how much its bag attends to it; those of a bag add up to 1."""
    features: torch.Tensor
    """(N, F): the means of the feature maps."""
    sizes: Sequence[int]
    """Images of each bag."""

    @property
    def output(self) -> torch.Tensor:
        """(B, K): the logits of the bags."""
        return self._attended(self.logits)

    @property
    def embedded(self) -> torch.Tensor:
        """(B, F): the features of the bags."""
        return self._attended(self.features)

    @property
    def each(self) -> "list[Looked]":
        """Every bag by itself."""
        logits, weights, features = (
            values.split(list(self.sizes)) for values in (self.logits, self.weights, self.features)
        )
        bags = zip(logits, weights, features, self.sizes, strict=True)
        return [Looked(z, w, h, (size,)) for z, w, h, size in bags]

    def _attended(self, values: torch.Tensor) -> torch.Tensor:
        weighted = values * self.weights.unsqueeze(-1)
        return torch.stack([bag.sum(dim=0) for bag in weighted.split(list(self.sizes))])


@dataclass(frozen=True)
class Attending:
    """The two halves of a network that attends to the images of a bag.

    The weighted sum of the images' logits is what a head makes of the weighted sum of their features, because a head
    that averages is linear; and so each image's evidence, times its weight, is evidence for the bag.
    """

    encoder: Classifier
    attention: GatedAttention

    @classmethod
    def of(cls, network: nn.Module) -> Self | None:
        """None for a network that does not attend."""
        encoder, attention = getattr(network, "encoder", None), getattr(network, "attention", None)
        if isinstance(encoder, Classifier) and isinstance(attention, GatedAttention):
            return cls(encoder, attention)
        return None

    def look(self, images: torch.Tensor, sizes: Sequence[int], at_once: int | None = None) -> Looked:
        """At bags of any sizes, none of which is filled up: what else is in the batch changes nothing.

        Args:
            images: (N, C, H, W), those of each bag in a row.
            sizes: images of each bag, N together.
            at_once: images per forward pass of the encoder; all by default. In training mode, batch normalisation is
                then over what is looked at together.
        """
        logits, features = self.each(images, at_once)
        weights = [self.attention(bag[None])[0] for bag in features.split(list(sizes))]
        return Looked(logits, torch.cat(weights), features, tuple(sizes))

    def bags(self, images: torch.Tensor, bags: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (bags * N, C, H, W) of bags of one size to logits (bags, N, K) and weights (bags, N)."""
        logits, features = self.each(images)
        weights: torch.Tensor = self.attention(features.reshape(bags, -1, self.encoder.features_count))
        return logits.reshape(*weights.shape, -1), weights

    def each(self, images: torch.Tensor, at_once: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, C, H, W), each by itself, to logits (N, K) and features (N, F)."""
        logits, features = [], []
        for some in images.split(at_once or len(images)):
            maps = self.encoder.feature_map(some)  # (n, F, h, w)
            logits.append(self.encoder.head(self.encoder.dropout(maps)))
            features.append(maps.flatten(2).mean(2))
        return torch.cat(logits), torch.cat(features)


def folded(bag: torch.Tensor) -> torch.Tensor:
    """Bags (B, C, N, H, W) to images (B * N, C, H, W), those of each bag in a row.

    Raises:
        ModelError: "bag-input", the input has another number of axes.
    """
    if bag.ndim != 5:
        message = f"This network takes bags (B, C, N, H, W), whose N images are one axis, not {tuple(bag.shape)}"
        raise ModelError("bag-input", f"{message}; give a bag of images, or its encoder's own input to its encoder.")
    batch, channels, images, height, width = bag.shape
    return bag.transpose(1, 2).reshape(batch * images, channels, height, width)


def attending(encoder: nn.Module, width: int) -> Attending:
    """An encoder with a new attention of that width.

    Raises:
        ValueError: the encoder has no feature map, or a head that is not linear, so that evidence would not add up.
    """
    if not isinstance(encoder, Classifier):
        raise ValueError(f"attention needs an encoder with a feature map, which {type(encoder).__name__} lacks")
    if encoder.head.pooling != "mean":
        raise ValueError(f"attention needs a head that averages, not one with pooling {encoder.head.pooling!r}")
    return Attending(encoder, GatedAttention(encoder.features_count, width))
