"""A Gaussian filter over the cells of a map that keeps its mean."""

import torch
from torch import Tensor

REACH = 4
"""Of the kernel, in widths."""


def smoothed(values: Tensor, width: float) -> Tensor:
    """(*s) filtered along every axis, mirrored at its edges (the edge cell twice), so that nothing gets lost there.

    Args:
        width: standard deviation in cells.
    """
    for axis, size in enumerate(values.shape):
        matrix = _matrix(size, width).to(values)
        values = torch.movedim(torch.tensordot(matrix, values, dims=([1], [axis])), 0, axis)
    return values


def _matrix(size: int, width: float) -> Tensor:
    """(size, size): what each cell takes from each."""
    reach = int(REACH * width + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.softmax(-offsets.double().square() / (2 * width**2), dim=0)
    around = (torch.arange(size)[:, None] + offsets) % (2 * size)
    inside = torch.minimum(around, 2 * size - 1 - around)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, inside, kernel.expand(size, -1))
