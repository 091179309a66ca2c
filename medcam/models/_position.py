"""Position embeddings of one grid of patches on another."""

from collections.abc import Sequence

import torch
from torch import nn


def on_grid(position: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    """(1, F, *grid) to the same field of view in other cells; as it is where the grid is already that one."""
    if tuple(grid) == tuple(position.shape[2:]):
        return position
    mode = "bicubic" if len(grid) == 2 else "trilinear"
    return nn.functional.interpolate(position, size=tuple(grid), mode=mode)
