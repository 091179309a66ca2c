"""Branching vessel trees that fill a lung."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Tube = tuple[Point, Point, float]  # start, end and radius in mm
_MURRAY = 2.2  # r(parent) ** _MURRAY is the sum of r(child) ** _MURRAY


def grow(root: Point, points: NDArray[np.float64], terminal_radius: float) -> list[Tube]:
    """A tree from `root` through every one of `points` (N, 3) mm; the thinnest tubes have `terminal_radius` mm.

    Points join nearest first, each to the node that makes its own tube and its way from the root short (the balanced
    spanning tree of Cuntz et al., PLoS Comput Biol 6:e1000877, 2010). Calibres follow Murray's law.
    """
    points = points[np.argsort(np.linalg.norm(points - root, axis=1))]
    node = np.concatenate([np.asarray(root, dtype=float)[None], points])
    way, parent = np.zeros(len(node)), np.zeros(len(node), dtype=int)
    for new in range(1, len(node)):
        gap = np.linalg.norm(node[:new] - node[new], axis=1)
        parent[new] = np.argmin(gap + 0.45 * way[:new])
        way[new] = way[parent[new]] + gap[parent[new]]
    flow = np.zeros(len(node))
    for tube in range(len(node) - 1, 0, -1):  # children come after their parents, so backwards every flow is complete
        flow[tube] = flow[tube] or terminal_radius**_MURRAY
        flow[parent[tube]] += flow[tube]
    radius = flow ** (1 / _MURRAY)
    at = [(float(z), float(y), float(x)) for z, y, x in node]
    return [(at[parent[tube]], at[tube], float(radius[tube])) for tube in range(1, len(node))]
