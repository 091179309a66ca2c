"""One grey channel, for pictures that are grey but stored in colour."""

from dataclasses import dataclass

import torch
from monai.data import MetaTensor


@dataclass(frozen=True)
class Grey:
    """The mean of the colour channels: a grey picture stored as RGB has three equal ones."""

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, *space) to (1, *space), float32."""
        image = image.to(torch.float32)
        return image.mean(0, keepdim=True) if len(image) > 1 else image
