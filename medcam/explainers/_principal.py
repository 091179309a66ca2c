"""The first principal map of an activation: what most of its channels have in common."""

import torch
from torch import Tensor

WEAK = 0.3
"""Share of the squared values below which the first component is one of several."""


def principal(features: Tensor, centre: Tensor | bool) -> tuple[Tensor, Tensor]:
    """Projection on the first right singular vector, from the smaller of the two Gram matrices.

    Args:
        features: (B, C, *grid); all cells of a sample together, so that a cine has one sign and no flicker.
        centre: subtract each channel's mean before; one answer for all, or one (B,) for each sample.

    Returns:
        tuple: maps (B, *grid), of arbitrary sign; and the share (B,) of the squared values that they explain.
    """
    matrix = features.flatten(2).double().transpose(1, 2)  # (B, Z, C)
    away = torch.as_tensor(centre, device=matrix.device).reshape(-1, 1, 1) * matrix.mean(dim=1, keepdim=True)
    matrix = matrix - away
    wide = matrix.shape[2] > matrix.shape[1]
    gram = matrix @ matrix.transpose(1, 2) if wide else matrix.transpose(1, 2) @ matrix
    values, vectors = torch.linalg.eigh(gram)  # ascending
    top, first = values[:, -1].clamp(min=0), vectors[:, :, -1]  # (B,), (B, Z or C)
    maps = first * top.sqrt()[:, None] if wide else (matrix @ first[:, :, None])[:, :, 0]
    share = top / values.clamp(min=0).sum(dim=1).clamp(min=1e-300)
    return maps.reshape(len(features), *features.shape[2:]).float(), share.float()


def turned(maps: Tensor, towards: Tensor) -> Tensor:
    """Each map (B, *grid) with the sign that makes it go along with `towards`, not against it."""
    flat, guide = maps.flatten(1), towards.flatten(1)
    along = ((flat - flat.mean(1, keepdim=True)) * (guide - guide.mean(1, keepdim=True))).sum(1)
    along = torch.where(along == 0, flat.sum(1), along)
    return maps * torch.where(along < 0, -1.0, 1.0).reshape(-1, *[1] * (maps.ndim - 1))


def weak(share: Tensor) -> tuple[str, ...]:
    """A note where the first component explains little of what is there."""
    least = float(share.min())
    if least >= WEAK:
        return ()
    return (f"the first component explains {100 * least:.0f} % only: the map is one of several of like strength",)
