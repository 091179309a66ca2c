"""Ultrasound cine: the scanned region without the screen around it, grey, few enough frames, one size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, ResizeWithPadOrCrop, SpatialCrop

from medcam.errors import InputError
from medcam.transforms._fit import Fit
from medcam.transforms._grey import Grey
from medcam.transforms._stretch import Stretch
from medcam.transforms.base import TIMES

REGION = "UltrasoundRegion"
"""The fact that says where the scanned region lies: first column, first row, last column, last row (PS3.3 C.8.5.5)."""

_WHOLE: tuple[int, int, int | None, int | None] = (0, 0, None, None)


def ultrasound(
    facts: Mapping[str, str],
    size: tuple[int, int] = (160, 192),
    frames: int = 16,
    percentiles: tuple[float, float] = (1.0, 99.5),
    frames_per_second: float | None = None,
    exact: bool = False,
) -> Compose:
    """Cut out the region that the header names, keep every n-th frame, make it grey, fit into `size`, scale to [0, 1].

    Args:
        facts: `REGION`, if the header states one.
        size: rows and columns of the model's input; what the picture does not fill becomes 0.
        frames: at most so many frames, evenly spaced; the step between them is a whole number, so times stay exact.
        percentiles: grey values at these percentiles over all the kept frames become 0 and 1.
        frames_per_second: instead of spreading the frames over the cine, take the first `frames` at about this rate,
            as Born et al. (2021) do with 3 per second and at most 30.
        exact: exactly `frames`, for networks that need so many; a cine with fewer is refused.

    Returns:
        Compose: (1 or 3, T, H, W) to (1, at most `frames`, *size).
    """
    left, top, right, bottom = map(int, facts[REGION].split("\\")) if facts.get(REGION) else _WHOLE
    return Compose(
        [
            Region(top, left, bottom, right),
            Frames(frames, exact) if frames_per_second is None else Rate(frames_per_second, frames, exact),
            Grey(),
            Fit(size),
            Stretch(*percentiles),
            ResizeWithPadOrCrop((-1, *size), constant_values=0.0),
        ]
    )


@dataclass(frozen=True)
class Region:
    """Cut out rows and columns, both ends included as DICOM counts them; the whole picture where none are given."""

    top: int = 0
    left: int = 0
    bottom: int | None = None
    right: int | None = None

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, T, H, W) to the part inside; the whole if the region misses the picture."""
        frames, rows, columns = image.shape[1:]
        top, left = max(self.top, 0), max(self.left, 0)
        bottom = rows if self.bottom is None else min(self.bottom + 1, rows)
        right = columns if self.right is None else min(self.right + 1, columns)
        if top >= bottom or left >= right:
            return image
        return SpatialCrop(roi_start=(0, top, left), roi_end=(frames, bottom, right))(image)


@dataclass(frozen=True)
class Frames:
    """Keep every n-th frame, n the smallest whole number that leaves at most `count`, centred in the cine.

    If `exact`, n is the largest whole number that leaves `count`, and the outermost frames are not looked at.
    """

    count: int
    exact: bool = field(default=False, repr=False)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, T, H, W) to (C, at most `count`, H, W)."""
        total = image.shape[1]
        step = total // self.count if self.exact else -(-total // self.count)
        kept = self.count if self.exact else -(-total // step)
        return _every(image, (total - 1 - step * (kept - 1)) // 2, step, kept)


@dataclass(frozen=True)
class Rate:
    """Keep every n-th frame from the first, n = int(frames per second of the cine / `hertz`), at most `count`."""

    hertz: float
    count: int
    exact: bool = False

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, T, H, W) to (C, at most `count`, H, W).

        Raises:
            InputError: "preparation-failed", the cine does not say when its frames are; "too-few".
        """
        total, times = image.shape[1], image.meta.get(TIMES)
        if times is None or (total > 1 and not times[-1] > times[0]):
            raise InputError("preparation-failed", "The frames have no times, so none can be taken at a rate.")
        own = (total - 1) / (times[-1] - times[0]) if total > 1 else self.hertz
        step = max(1, int(own / self.hertz + 1e-3))  # times are rounded: 29.9997 per second are 30
        return _every(image, 0, step, self.count if self.exact else min(self.count, -(-total // step)))


def _every(image: MetaTensor, first: int, step: int, count: int) -> MetaTensor:
    """`count` frames, every `step`-th from `first`, and their affine."""
    if step < 1 or first + step * (count - 1) >= image.shape[1]:
        raise InputError("too-few", f"{image.shape[1]} frames are too few to take {count} of them.")
    to_source = torch.eye(4, dtype=image.affine.dtype)
    to_source[0, 0], to_source[0, 3] = step, first
    return MetaTensor(image.as_tensor()[:, first::step][:, :count], affine=image.affine @ to_source)
