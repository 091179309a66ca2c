"""Vessel trees: connected, every point reached, calibres by Murray's law."""

from collections import defaultdict

import numpy as np

from sample_data.vessels import grow


def test_a_tree_reaches_every_point_and_obeys_murray() -> None:
    root = (0.0, 0.0, 0.0)
    points = np.random.default_rng(3).uniform(5, 60, (80, 3))
    tubes = grow(root, points, 0.8)
    assert {end for _, end, _ in tubes} == {tuple(point) for point in points}
    children = defaultdict(list)
    for start, _, radius in tubes:
        children[start].append(radius)
    reached = {root} | {end for _, end, _ in tubes}
    assert set(children) <= reached
    for _, end, radius in tubes:
        if end in children:
            assert np.isclose(radius**2.2, sum(r**2.2 for r in children[end]))
        else:
            assert np.isclose(radius, 0.8)
    assert np.isclose(sum(r**2.2 for r in children[root]), 0.8**2.2 * sum(end not in children for _, end, _ in tubes))
