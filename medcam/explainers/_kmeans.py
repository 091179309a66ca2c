"""K-means without chance: the same points give the same clusters, in whatever order they come."""

import torch
from torch import Tensor

ROUNDS = 100
"""Far more than it takes to settle."""


def medoids(points: Tensor, count: int) -> Tensor:
    """Indices (at most count,) of the point nearest to the centre of each cluster of points (n, features).

    The first centre is the point nearest to the mean of all, each further one the point farthest from those before.
    """
    centres = points[_farthest(points, count)]
    for _ in range(ROUNDS):
        owner = squared(points, centres).argmin(dim=1)
        means = torch.stack([points[owner == own].mean(dim=0) for own in owner.unique()])
        if means.shape == centres.shape and torch.equal(means, centres):
            break
        centres = means
    nearest: Tensor = squared(points, centres).argmin(dim=0).unique()
    return nearest


def squared(points: Tensor, others: Tensor) -> Tensor:
    """(n, m): squared distances, exactly zero between equals."""
    distance: Tensor = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.square()


def _farthest(points: Tensor, count: int) -> list[int]:
    chosen = [int(squared(points, points.mean(dim=0, keepdim=True)).argmin())]
    distance = squared(points, points[chosen])[:, 0]
    while len(chosen) < count and float(distance.max()) > 0:
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, squared(points, points[chosen[-1:]])[:, 0])
    return chosen
