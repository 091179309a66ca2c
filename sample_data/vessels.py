"""Branching vessel trees that fill a lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Vessels:
    """Straight tubes: `start` and `end` (N, 3) mm, `radius` (N,) mm."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    radius: NDArray[np.float64]


def grow(root: tuple[float, float, float], points: NDArray[np.float64], terminal_radius: float) -> Vessels:
    """A tree from `root` through every one of `points` (N, 3) mm.

    Points join nearest first, each to the node that makes its own tube and its way from the root short (the balanced
    spanning tree of Cuntz et al., PLoS Comput Biol 6:e1000877, 2010). Calibres follow Murray's law with exponent 2.2.
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
        flow[tube] = flow[tube] or terminal_radius**2.2
        flow[parent[tube]] += flow[tube]
    return Vessels(node[parent[1:]], node[1:], flow[1:] ** (1 / 2.2))
