"""Histopathology patch or slide tile: RGB in [0, 1], one size."""

from collections.abc import Mapping

from monai.transforms import Compose, ResizeWithPadOrCrop, ScaleIntensityRange

from medcam.transforms._fit import Fit


def histology(facts: Mapping[str, str], size: tuple[int, int] = (256, 256)) -> Compose:
    """Colours from 0..255 to [0, 1], fitted into `size` with proportions kept; white glass around it.

    Args:
        facts: not needed.
        size: rows and columns of the model's input.

    Returns:
        Compose: (3, H, W) RGB to (3, *size).
    """
    return Compose(
        [
            Fit(size),
            ScaleIntensityRange(0.0, 255.0, 0.0, 1.0, clip=True),
            ResizeWithPadOrCrop(tuple(size), constant_values=1.0),
        ]
    )
