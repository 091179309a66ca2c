"""What an X-ray beam crosses: maps of path lengths in mm, seen from the front with the patient's right on the left."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sample_data.vessels import Point

Array = NDArray[Any]


class Projection:
    """A detector of `size` x `size` pixels of `pixel` mm; rows run from head to feet, columns to the patient's left.

    `z` (size, 1) and `x` (1, size) are mm in the thorax's coordinates at the pixel centres.
    """

    def __init__(self, size: int, pixel: float, centre: tuple[float, float] = (0.0, 0.0)) -> None:
        self.size, self.pixel = size, pixel
        steps = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
        self.z, self.x = (centre[0] - steps)[:, None], (centre[1] + steps)[None, :]

    def zeros(self) -> Array:
        """An empty map of path lengths."""
        return np.zeros((self.size, self.size), dtype=np.float32)

    def box(self, low: tuple[float, float], high: tuple[float, float]) -> tuple[slice, slice]:
        """The pixels between two corners (z, x) mm, clipped to the detector."""
        rows = np.searchsorted(-self.z[:, 0], (-high[0], -low[0]))
        columns = np.searchsorted(self.x[0], (low[1], high[1]))
        return slice(*rows), slice(*columns)

    def tube(self, onto: Array, start: Point, end: Point, radius: float, hollow: float = 0.0) -> None:
        """Raise `onto` to the path through a tube (never add: neighbours in a chain overlap).

        `hollow` is the radius, relative to the whole, of a core that does not count: the marrow of a bone.
        """
        (z0, _, x0), (z1, _, x1) = start, end
        reach = radius + self.pixel
        box = self.box((min(z0, z1) - reach, min(x0, x1) - reach), (max(z0, z1) + reach, max(x0, x1) + reach))
        dz, dx = self.z[box[0]] - z0, self.x[:, box[1]] - x0
        sz, sx = z1 - z0, x1 - x0
        along = np.clip((dz * sz + dx * sx) / max(sz * sz + sx * sx, 1e-6), 0, 1)
        squared = (dz - along * sz) ** 2 + (dx - along * sx) ** 2
        path = chord(squared, radius) - chord(squared, hollow * radius)
        if radius < self.pixel:  # thinner than a pixel: keep the area of the cross-section
            path *= radius / self.pixel
        np.maximum(onto[box], path, out=onto[box])


def chord(squared: Array, radius: float) -> Array:
    """Path in mm through a ball or a tube at a squared distance (mm^2) from its middle."""
    return 2 * np.sqrt(np.maximum(radius * radius - squared, 0))
