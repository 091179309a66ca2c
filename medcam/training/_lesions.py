"""The lesions of training pictures one by one, so that small ones are seen as often as their size calls for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from skimage.measure import label, regionprops


class Lesions:
    """Where each lesion of each row lies: pieces of the mask that touch, corners included.

    Args:
        masks: (N, *space).
    """

    def __init__(self, masks: npt.NDArray[np.bool_]) -> None:
        self.voxels: list[list[npt.NDArray[np.int64]]] = [
            [piece.coords for piece in regionprops(label(mask, connectivity=mask.ndim))] if mask.any() else []
            for mask in masks
        ]
        """By row and lesion: index of its voxels (n, axes of space)."""

    def weights(self, rows: torch.Tensor, power: float) -> torch.Tensor:
        """How often each row is drawn: its largest lesion's voxels to the power of -`power`.

        The largest, because it decides how hard the row is; 1/3 draws volumes by 1 / diameter.
        """
        largest = [max(len(voxels) for voxels in self.voxels[row]) for row in rows.tolist()]
        return torch.tensor(largest, dtype=torch.float64) ** -power

    def somewhere(self, row: int, random: torch.Generator) -> npt.NDArray[np.int64] | None:
        """A voxel of one of the row's lesions, each as likely as the next whatever its size; None without one."""
        if not self.voxels[row]:
            return None
        lesion = self.voxels[row][_any(len(self.voxels[row]), random)]
        voxel: npt.NDArray[np.int64] = lesion[_any(len(lesion), random)]
        return voxel


def _any(count: int, random: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=random))
