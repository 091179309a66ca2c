"""CT volume: upright, resampled to one spacing, Hounsfield window to [0, 1], cut or padded to one size."""

from collections.abc import Mapping

from monai.transforms import Compose, Orientation, ResizeWithPadOrCrop, ScaleIntensityRange

from medcam.transforms._spacing import Respace


def ct(
    facts: Mapping[str, str],
    size: tuple[int, int, int] = (64, 128, 144),
    spacing_mm: tuple[float, float, float] = (4.5, 2.2, 2.2),
    window_hu: tuple[float, float] = (-1000.0, 400.0),
) -> Compose:
    """Rows and columns as radiologists see them: d towards the head, h towards the back, w towards the patient's left.

    Args:
        facts: not needed.
        size: slices, rows and columns of the model's input, around the centre of the volume.
        spacing_mm: distance of slices, rows and columns.
        window_hu: HU that become 0 and 1; values beyond are clipped.

    Returns:
        Compose: (1, D, H, W) HU in any orientation, oblique too, to (1, *size).
    """
    low, high = window_hu
    return Compose(
        [
            Orientation("SPL", labels=None),
            Respace(tuple(spacing_mm)),
            ScaleIntensityRange(low, high, 0.0, 1.0, clip=True),
            ResizeWithPadOrCrop(tuple(size), constant_values=0.0),
        ]
    )
