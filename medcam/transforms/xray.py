"""Projection X-ray: one grey channel in [0, 1], whatever the detector's bit depth and gain."""

from collections.abc import Mapping

from monai.transforms import Compose, ResizeWithPadOrCrop

from medcam.transforms._fit import Fit
from medcam.transforms._grey import Grey
from medcam.transforms._stretch import Stretch


def xray(
    facts: Mapping[str, str], size: tuple[int, int] = (256, 256), percentiles: tuple[float, float] = (1.0, 99.0)
) -> Compose:
    """Fit into `size` with proportions kept, then scale two percentiles of the grey values to 0 and 1.

    Args:
        facts: not needed.
        size: rows and columns of the model's input; what the picture does not fill becomes 0.
        percentiles: grey values at these percentiles become 0 and 1; beyond them values are clipped.

    Returns:
        Compose: (1 or 3, H, W) to (1, *size), bright = dense.
    """
    return Compose([Grey(), Fit(size), Stretch(*percentiles), ResizeWithPadOrCrop(tuple(size), constant_values=0.0)])
