"""Supervision where the truth of every cell is known: the class map must be positive in the lesion and nowhere else."""

import torch
from torch import nn
from torch.nn import functional


def cells(mask: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The lesion's share of each cell of a coarser map.

    A strided convolution with odd kernel and "same" padding centres cell i on pixel i * stride, so the share is taken
    around there, not over pixels [i * stride, (i + 1) * stride).

    Args:
        mask: (B, 1, *space) in [0, 1].
        shape: of the map.
    """
    strides = [round(n / m) for n, m in zip(mask.shape[2:], shape, strict=True)]
    kernel = [s + 1 - s % 2 for s in strides]
    average = functional.avg_pool2d if len(shape) == 2 else functional.avg_pool3d
    share = average(mask, kernel, strides, [k // 2 for k in kernel], count_include_pad=False)
    for axis, size in enumerate(shape, start=2):
        share = share.narrow(axis, 0, size)
    return share


def map_loss(evidence: torch.Tensor, mask: torch.Tensor, false_alarm: float = 0.25) -> torch.Tensor:
    """Focal loss (Lin et al., 2017, gamma 2): mean over an image's lesion cells, part of the sum over others.

    The mean makes a small lesion count as much as a large one.

    Args:
        evidence: (B, 1, *map) logits of the class map.
        mask: (B, 1, *space) lesions.
        false_alarm: which part, the weight of a healthy cell.

    Cells that a lesion covers by less than half count as background only if it does not touch them at all; of a lesion
    smaller than a cell, the cell that holds most of it is positive.
    """
    share = cells(mask, tuple(evidence.shape[2:]))
    most = share.flatten(1).amax(1).reshape(-1, *[1] * (share.ndim - 1))
    inside = share >= 0.5 * most.clamp(min=1e-3)
    outside = (share < 0.02) & ~inside
    probability = evidence.sigmoid()
    missed = (1 - probability) ** 2 * functional.softplus(-evidence)
    false = probability**2 * functional.softplus(evidence)
    space = tuple(range(1, evidence.ndim))
    per_image = (missed * inside).sum(space) / inside.sum(space).clamp(min=1)
    per_image = per_image + false_alarm * (false * outside).sum(space)
    return per_image.mean()


class Tap:
    """Keeps what a module gave out last, to be supervised beside the network's own output."""

    def __init__(self, module: nn.Module) -> None:
        self.output = torch.empty(0)
        module.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        self.output = output
