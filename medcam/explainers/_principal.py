"""The first principal map of an activation: what most of its channels have in common."""

import torch
from torch import Tensor

WEAK = 0.3
"""Share of the squared values below which the first component is one of several."""
BLOCK, PRODUCTS, ROUNDS, ACCURATE = 8, 4, 20, 1e-9
"""Of the iteration for the first eigenvector: vectors, products before each look, looks, and when it is good enough."""


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
    top, first = _first(gram)  # (B,), (B, Z or C)
    maps = first * top.sqrt()[:, None] if wide else (matrix @ first[:, :, None])[:, :, 0]
    share = top / gram.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(min=1e-300)
    return maps.reshape(len(features), *features.shape[2:]).float(), share.float()


def _first(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Largest eigenvalue (B,) and its vector (B, n) of positive matrices (B, n, n).

    By iterating a block of vectors, which takes a fraction of the time of all eigenvectors: eight let a second
    component be nearly as strong as the first. What has not settled in time is left to the full decomposition.
    """
    size, random = gram.shape[1], torch.Generator().manual_seed(0)
    if size <= 4 * BLOCK:
        return _last(*torch.linalg.eigh(gram))
    block = torch.randn(size, BLOCK, dtype=gram.dtype, generator=random).to(gram.device).expand(len(gram), -1, -1)
    for _ in range(ROUNDS):
        for _ in range(PRODUCTS):
            block = gram @ (block / block.norm(dim=1, keepdim=True).clamp(min=1e-300))
        block = torch.linalg.qr(block).Q  # (B, n, BLOCK)
        images = gram @ block
        top, turn = _last(*torch.linalg.eigh(block.transpose(1, 2) @ images))
        first, image = ((each @ turn[:, :, None])[:, :, 0] for each in (block, images))
        settled = (image - top[:, None] * first).norm(dim=1) <= ACCURATE * top  # (B,)
        if bool(settled.all()):
            return top, first
    top[~settled], first[~settled] = _last(*torch.linalg.eigh(gram[~settled]))
    return top, first


def _last(values: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Of eigenvalues in rising order and their vectors."""
    return values[:, -1].clamp(min=0), vectors[:, :, -1]


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
