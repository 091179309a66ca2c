"""Clusters against scikit-learn, and in any order of the points."""

import numpy as np
import torch
from sklearn.cluster import KMeans

from medcam.explainers._kmeans import medoids, squared


def clouds(seed: int = 0) -> torch.Tensor:
    """Four far clouds of ten points in five dimensions, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.randn(4, 5, generator=generator)
    return (centres[:, None] + torch.randn(4, 10, 5, generator=generator)).flatten(0, 1)


def test_one_medoid_in_each_cloud_as_scikit_learn_has_them() -> None:
    points = clouds()
    found = medoids(points, 4)
    assert sorted((found // 10).tolist()) == [0, 1, 2, 3]
    theirs = KMeans(4, n_init=10, random_state=0).fit(points.numpy())
    nearest = {int(((points.numpy() - centre) ** 2).sum(1).argmin()) for centre in theirs.cluster_centers_}
    assert set(found.tolist()) == nearest


def test_the_order_of_points_does_not_matter() -> None:
    points = clouds(1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(points)))
    assert set(order[medoids(points[order], 6)].tolist()) == set(medoids(points, 6).tolist())


def test_fewer_different_points_than_clusters() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).repeat(5, 1)
    assert len(medoids(points, 7)) == 2


def test_equals_have_no_distance() -> None:
    points = 1e4 + torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    assert (squared(points, points).diagonal() == 0).all()
