"""Ordinary kriging: values at all points from those at some, a function that is as rough everywhere."""

import torch
from torch import Tensor


def kriged(points: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """(n, K): the best linear unbiased estimate at all points of what was measured at some of them.

    The squared difference of two values is taken to grow as the distance between their points (the linear variogram),
    so that nothing has to be fitted: on a line this is linear interpolation, level outside. What was measured stays as
    it is.

    Args:
        points: (n, features).
        known: (m,) indices of the points at which something was measured, no two of them the same; one at least.
        values: (m, K) what was measured there.

    Source: Matheron, Principles of geostatistics, Economic Geology 1963.
    """
    if len(known) == len(points):  # nothing is left to estimate
        return torch.empty_like(values).index_copy(0, known, values)
    count = len(known)
    places = points[known]
    system = values.new_ones((count + 1, count + 1), dtype=torch.float64)  # the last row makes weights add up to one
    system[:count, :count] = _distance(places, places)
    system[count, count] = 0
    asked = values.new_ones((count + 1, len(points)), dtype=torch.float64)
    asked[:count] = _distance(places, points)
    weights = torch.linalg.solve(system, asked)[:count]  # (m, n)
    estimate: Tensor = (weights.T @ values.double()).to(values.dtype)
    estimate[known] = values
    return estimate


def _distance(points: Tensor, others: Tensor) -> Tensor:
    distance: Tensor = torch.cdist(points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return distance
