"""A CT volume to paint on: HU with mm coordinates, where every edge covers its voxels in part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sample_data.vessels import Point

Array = NDArray[Any]


def coverage(distance: Array, edge: float) -> Array:
    """Part of a voxel inside a surface at signed `distance` mm from its centre; the edge is `edge` mm wide."""
    return np.clip(np.float32(0.5) - distance / np.float32(edge), 0, 1)


class Volume:
    """HU (D, H, W), cells centred at `z` (D, 1, 1), `y` (1, H, 1), `x` (1, 1, W) mm; the origin is its centre."""

    def __init__(self, shape: tuple[int, int, int], spacing: Point) -> None:
        self.spacing = spacing
        self.hu: Array = np.full(shape, -1000, dtype=np.float32)
        self._axis = [
            ((np.arange(n) - (n - 1) / 2) * s).astype(np.float32) for n, s in zip(shape, spacing, strict=True)
        ]
        self.z, self.y, self.x = (
            axis.reshape([-1 if i == k else 1 for i in range(3)]) for k, axis in enumerate(self._axis)
        )

    def paint(self, cover: Array, value: Array | float) -> None:
        """Mix `value` HU into every voxel by its covered part."""
        self.hu += cover * (value - self.hu)

    def box(self, low: Point, high: Point) -> tuple[slice, slice, slice]:
        """The voxels between two corners in mm, clipped to the volume."""
        bounds = [np.searchsorted(a, (lo, hi)) for a, lo, hi in zip(self._axis, low, high, strict=True)]
        return (slice(*bounds[0]), slice(*bounds[1]), slice(*bounds[2]))

    def axis(self, number: int) -> Array:
        """Cell centres in mm along one axis."""
        return self._axis[number]

    def index(self, point: Point) -> Point:
        """Index, with fractions, of a point in mm."""
        z, y, x = ((p - float(a[0])) / s for p, a, s in zip(point, self._axis, self.spacing, strict=True))
        return (z, y, x)

    def capsule(
        self,
        start: Point,
        end: Point,
        radius: float,
        value: float,
        within: Array | None = None,
        carve: Array | None = None,
    ) -> None:
        """Paint a tube with round ends.

        `within` (D, H, W) in [0, 1] limits it, for instance to a lung; from `carve` (D, H, W) it is taken away.
        """
        edge = 0.5 * (self.spacing[1] + max(self.spacing[1], min(self.spacing[0], 2 * radius)))
        reach = radius + edge
        low = (min(start[0], end[0]) - reach, min(start[1], end[1]) - reach, min(start[2], end[2]) - reach)
        high = (max(start[0], end[0]) + reach, max(start[1], end[1]) + reach, max(start[2], end[2]) + reach)
        box = self.box(low, high)
        dz, dy, dx = (self._axis[k][box[k]] - start[k] for k in range(3))
        dz, dy, dx = dz[:, None, None], dy[None, :, None], dx[None, None, :]
        sz, sy, sx = (end[k] - start[k] for k in range(3))
        along = np.clip((dz * sz + dy * sy + dx * sx) / max(sz * sz + sy * sy + sx * sx, 1e-6), 0, 1)
        distance = np.sqrt((dz - along * sz) ** 2 + (dy - along * sy) ** 2 + (dx - along * sx) ** 2) - radius
        cover = coverage(distance, edge)
        if within is not None:
            cover *= within[box]
        if carve is not None:
            carve[box] *= 1 - cover
        view = self.hu[box]
        view += cover * (np.float32(value) - view)
