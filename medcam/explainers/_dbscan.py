"""DBSCAN (Ester et al. 1996) of a few thousand points, whatever their order."""

import torch
from torch import Tensor

NOISE = -1


def dbscan(distances: Tensor, reach: float, neighbours: int) -> Tensor:
    """The cluster of each point, numbered from 0, or NOISE.

    A core has at least `neighbours` points (itself counted) within `reach`; cores within reach of one another are one
    cluster. Any other point within reach of a core joins its nearest core's cluster, where the usual implementations
    let the order of the points decide.

    Args:
        distances: (N, N).

    Source: Ester et al., A Density-Based Algorithm for Discovering Clusters, KDD 1996.
    """
    near = distances <= reach
    core = near.sum(dim=1) >= neighbours
    linked = near & core[:, None] & core
    labels = torch.full((len(distances),), NOISE, device=distances.device)
    for seed in range(len(distances)):
        if not core[seed] or labels[seed] != NOISE:
            continue
        cluster = torch.zeros_like(core)
        found = cluster.clone()
        found[seed] = True
        while bool((found & ~cluster).any()):
            fresh = found & ~cluster
            cluster |= found
            found = linked[fresh].any(dim=0)
        labels[cluster] = labels.max() + 1
    if bool(core.any()):
        away = distances.masked_fill(~(near & core), torch.inf)  # to cores within reach
        nearest, which = away.min(dim=1)
        border = ~core & nearest.isfinite()
        labels[border] = labels[which[border]]
    return labels


def pairwise(points: Tensor) -> Tensor:
    """Euclidean distances (N, N) of points (N, D), by their Gram matrix, so that no (N, N, D) is ever made."""
    points = points.double()
    gram = points @ points.T
    squares = gram.diagonal()
    return (squares[:, None] + squares - 2 * gram).clamp(min=0).sqrt().fill_diagonal_(0)
