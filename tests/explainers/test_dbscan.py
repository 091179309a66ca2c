"""DBSCAN against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from medcam.explainers._dbscan import NOISE, dbscan, pairwise


def clouds(seed: int, dims: int) -> torch.Tensor:
    """Three dense clouds, a thin bridge and points far out."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(3, dims, generator=generator)
    dense = centres.repeat(25, 1) + 0.5 * torch.randn(75, dims, generator=generator)
    bridge = torch.lerp(centres[0], centres[1], torch.linspace(0.2, 0.8, 6)[:, None])
    return torch.cat([dense, bridge, 8 * torch.randn(10, dims, generator=generator)])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("dims", "reach", "neighbours"), [(2, 0.5, 4), (2, 0.8, 6), (3, 1.0, 5), (49, 5.0, 3)])
def test_equals_sklearn_but_for_points_between_two_clusters(
    seed: int, dims: int, reach: float, neighbours: int
) -> None:
    points = clouds(seed, dims)
    ours = dbscan(pairwise(points), reach, neighbours).numpy()
    theirs = DBSCAN(eps=reach, min_samples=neighbours).fit(points.double().numpy())
    core = np.zeros(len(points), dtype=bool)
    core[theirs.core_sample_indices_] = True
    names = dict(zip(ours[core].tolist(), theirs.labels_[core].tolist(), strict=True))
    assert len(names) == len(set(theirs.labels_[core].tolist())) == len(set(names.values()))
    np.testing.assert_array_equal(ours == NOISE, theirs.labels_ == NOISE)
    away = np.linalg.norm(points[:, None].double() - points[None, core].double(), axis=2)
    for i, label in enumerate(ours):
        reached = {int(one) for one in ours[core][away[i] <= reach]}
        if len(reached) == 1:
            assert names[label] == theirs.labels_[i]
        elif reached:  # by their order there, by distance here
            assert label == ours[core][away[i].argmin()]


def test_the_order_of_points_does_not_matter() -> None:
    points = clouds(1, 2)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    before, after = (dbscan(pairwise(some), 0.8, 6) for some in (points, points[order]))
    same = before[order]
    assert torch.equal(same[:, None] == same, after[:, None] == after)
    assert torch.equal(same == NOISE, after == NOISE)


def test_a_point_between_two_clusters_joins_the_nearer_one() -> None:
    """Cores near 0 and near 10; a single point at 4.6 and one at 5.4, neither dense."""
    left, right = torch.linspace(0, 2, 9), torch.linspace(8, 10, 9)
    for between, cluster in ((4.9, 0), (5.1, 1)):
        points = torch.cat([left, right, torch.tensor([between])])[:, None]
        labels = dbscan(pairwise(points), 3.2, 9)
        assert labels.tolist() == [0] * 9 + [1] * 9 + [cluster]


def test_nothing_dense_is_all_noise() -> None:
    assert (dbscan(pairwise(torch.arange(5.0)[:, None]), 0.5, 2) == NOISE).all()
