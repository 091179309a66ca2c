"""Resizing that keeps proportions: what every plane-like modality needs before its pixels fill a fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.data import MetaTensor
from monai.transforms import Resize


@dataclass(frozen=True)
class Fit:
    """Scale rows and columns by what makes them just fit into `size`; padding is left to a later step.

    Proportions are those of the affine, so pixels that are not square become square. Frames (a third axis in front) are
    left alone. Shrinking averages over the cells that become one, so that fine texture does not alias.
    """

    size: Sequence[int]

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """(C, [T,] H, W) to (C, [T,] h, w) with h, w at most `size`, float32."""
        axes = image.ndim - 1
        cell = torch.linalg.vector_norm(image.affine[:3, axes - 2 : axes], dim=0)  # mm, or pixels
        extent = [float(n * mm) for n, mm in zip(image.shape[-2:], cell, strict=True)]
        scale = min(n / mm for n, mm in zip(self.size, extent, strict=True))
        inner = [min(n, max(1, round(mm * scale))) for n, mm in zip(self.size, extent, strict=True)]
        smaller = all(new <= old for new, old in zip(inner, image.shape[-2:], strict=True))
        mode = "area" if smaller else {2: "bilinear", 3: "trilinear"}[axes]
        return Resize((*image.shape[1:-2], *inner), mode=mode)(image)
