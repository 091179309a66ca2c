"""EfficientTrain: early epochs see only an image's low frequencies, in fewer pixels, so they are quicker.

Wang et al., "EfficientTrain: Exploring Generalized Curriculum Learning for Training Visual Backbones", ICCV 2023.
What is fine (micro-calcifications, nodules, speckle) is seen by the last stage only: compare with a run without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from medcam.errors import UsageError
from medcam.record import Record


@dataclass(frozen=True)
class Curriculum(Record):
    """Which epochs see which share of an image's size; the default is the paper's 160, 192 and 224 of 224.

    Args:
        until: share of all epochs at which each stage ends; the last one is 1.
        shares: of the image's size along each axis, by stage; the last one is 1, because normalisation layers must have
            seen whole images.
        stride: sizes are multiples of this, the network's stride.
        weakest: of the augmentation in the first fifth of the epochs, relative to its full strength in the last fifth.

    Raises:
        UsageError: "settings", the stages are not in order or do not end with whole images.
    """

    until: tuple[float, ...] = (3 / 5, 4 / 5, 1.0)
    shares: tuple[float, ...] = (160 / 224, 192 / 224, 1.0)
    stride: int = 32
    weakest: float = 1 / 9

    def __post_init__(self) -> None:
        stages = len(self.until) == len(self.shares) >= 1 and list(self.until) == sorted(set(self.until))
        shares = all(0 < share <= 1 for share in self.shares) and 0 < self.weakest <= 1 and self.stride >= 1
        if not (stages and shares and self.until[0] > 0 and self.until[-1] == self.shares[-1] == 1):
            raise UsageError("settings", "The curriculum's stages must rise and end with whole images at 1.")

    def size(self, epoch: int, epochs: int, full: Sequence[int]) -> tuple[int, ...]:
        """The image's size along each axis in an epoch, counted from 0; the last epoch sees whole images."""
        stage = next(index for index, end in enumerate(self.until) if epoch + 1 <= end * epochs + 1e-9)
        share, stride = self.shares[stage], self.stride
        if share == 1:
            return tuple(full)
        return tuple(min(pixels, max(math.floor(pixels * share / stride + 1e-9), 1) * stride) for pixels in full)

    def strength(self, epoch: int, epochs: int) -> float:
        """Of the augmentation in an epoch: five equal steps, the paper's magnitudes 1, 3, 5, 7 and 9."""
        return self.weakest + (1 - self.weakest) * (epoch * 5 // epochs) / 4

    def cost(self, epochs: int, full: Sequence[int]) -> float:
        """Work of a run as a share of one with whole images only, if work grows with the number of pixels."""
        pixels = [math.prod(self.size(epoch, epochs, full)) for epoch in range(epochs)]
        return sum(pixels) / (epochs * math.prod(full))


def low_frequencies(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The middle of the spectrum as smaller images: like resampling, but without any aliasing, and with some ringing.

    Args:
        images: (B, C, *space) float32.
        size: of the result along each axis of space, at most as large.

    Returns:
        torch.Tensor: (B, C, *size); the mean is kept, the range may be left a little at sharp edges.
    """
    full = images.shape[2:]
    if tuple(size) == tuple(full):
        return images
    axes = tuple(range(2, images.ndim))
    spectrum = torch.fft.fftshift(torch.fft.fftn(images, dim=axes), dim=axes)
    for axis, (pixels, kept) in enumerate(zip(full, size, strict=True), start=2):
        spectrum = spectrum.narrow(axis, pixels // 2 - kept // 2, kept)  # frequency 0 is at pixels // 2
    spectrum = torch.fft.ifftshift(spectrum, dim=axes) * (math.prod(size) / math.prod(full))
    smaller: torch.Tensor = torch.fft.ifftn(spectrum, dim=axes)
    return smaller.real.contiguous()  # an even size keeps one side of its highest frequency, hence the imaginary part
