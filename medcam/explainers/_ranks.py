"""Spearman's rank correlation of two maps."""

import torch
from torch import Tensor


def rank_correlation(one: Tensor, other: Tensor) -> float | None:
    """Of two maps of the same number of cells; None where one is the same everywhere."""
    ranks = torch.stack([_ranks(values.flatten()) for values in (one, other)])
    away = ranks - ranks.mean(dim=1, keepdim=True)
    spread = away.square().sum(dim=1).prod().sqrt()
    return float(away.prod(dim=0).sum() / spread) if bool(spread > 0) else None


def _ranks(values: Tensor) -> Tensor:
    """(N,): from 0; values that are equal share the mean of their ranks."""
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = counts.cumsum(0) - (counts.double() + 1) / 2
    return ranks[which]
