"""Grey values to [0, 1] by percentiles: robust against gain, bit depth, markers and black borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from monai.data import MetaTensor


@dataclass(frozen=True)
class Stretch:
    """The values at two percentiles become 0 and 1, beyond them they are clipped.

    Unlike MONAI's ScaleIntensityRangePercentiles it takes images of any size and stays within [0, 1] where the two
    percentiles coincide (then the extremes take their place; a constant image becomes 0).
    """

    lower: float
    upper: float

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, *space), any range, to the same shape in [0, 1]."""
        low, high = np.percentile(image.numpy(), (self.lower, self.upper))
        if not high > low:
            low, high = float(image.min()), float(image.max())
        return ((image - low) / max(high - low, 1e-12)).clamp(0, 1)
