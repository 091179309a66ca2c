"""Other distances between the voxels of a volume, along the same axes, by linear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Respace:
    """Interpolate along each axis at a new distance; the first voxel stays where it is.

    The values of MONAI's Spacing. That makes floats of the whole volume first; here only the rows, columns and slices
    that are needed are touched, one plane at a time, which takes a fifth of the time for 200 slices of 512 x 512.
    """

    spacing_mm: Sequence[float]

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(1, D, H, W) of any number type to (1, d, h, w) float32."""
        cell = torch.linalg.vector_norm(image.affine[:3, :3], dim=0).tolist()
        steps = [new / old for new, old in zip(self.spacing_mm, cell, strict=True)]  # in voxels
        volume = image.as_tensor()[0].numpy()
        slices, rows, columns = (_Places.of(*each) for each in zip(volume.shape, steps, strict=True))
        planes = [columns.along(1, rows.along(0, plane)) for plane in volume]
        moved = torch.from_numpy(slices.along(0, np.stack(planes)))
        scale = torch.diag(torch.tensor([*steps, 1.0], dtype=image.affine.dtype))
        return MetaTensor(moved[None], affine=image.affine @ scale)


@dataclass(frozen=True)
class _Places:
    """Where to look along one axis: the voxels before and behind each place, and how far it is from the former."""

    before: npt.NDArray[np.intp]
    behind: npt.NDArray[np.intp]
    share: Floats

    @classmethod
    def of(cls, voxels: int, step: float) -> _Places:
        """Every `step` voxels, up to half a step beyond the last, whose value holds there."""
        count = round((voxels - 1) / step + 1)
        at = (np.arange(count) * step).clip(max=voxels - 1)
        before = np.floor(at).astype(np.intp)
        return cls(before, np.minimum(before + 1, voxels - 1), (at - before).astype(np.float32))

    def along(self, axis: int, values: npt.NDArray[np.number]) -> Floats:
        near: Floats = values.take(self.before, axis).astype(np.float32, copy=False)
        if self.share.any():
            far = values.take(self.behind, axis).astype(np.float32, copy=False)
            near = near + (far - near) * self.share.reshape(-1, *[1] * (values.ndim - 1 - axis))
        return near
