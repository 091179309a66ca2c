"""Pulmonary nodules of a CT volume, with the exact part of each voxel that they fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sample_data.thorax import Array, Thorax
from sample_data.vessels import Point
from sample_data.volume import Volume

_SUBSAMPLES = (8, 5, 5)  # per voxel along (d, h, w)


@dataclass(frozen=True)
class Nodule:
    """An ellipsoid, half axes `radii` mm (z, y, x); a part-solid one is ground glass around a solid core."""

    kind: str
    centre: Point
    radii: Point
    hu: float
    core: float = 0.0  # radius of the solid core relative to the whole; 0: solid all through

    def covers(self, volume: Volume, scale: float = 1.0) -> tuple[tuple[slice, slice, slice], Array]:
        """The box of voxels it may touch and the covered part of each, by counting sub-voxels. `scale` for the core."""
        reach = [r * scale + s for r, s in zip(self.radii, volume.spacing, strict=True)]
        low, high = ([c + sign * r for c, r in zip(self.centre, reach, strict=True)] for sign in (-1, 1))
        box = volume.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        square = []
        for axis, (part, steps) in enumerate(zip(box, _SUBSAMPLES, strict=True)):
            first = volume.axis(axis)[part][:, None] - self.centre[axis]
            fine = first + ((np.arange(steps) + 0.5) / steps - 0.5) * volume.spacing[axis]
            square.append(((fine / (self.radii[axis] * scale)) ** 2).ravel())
        inside = square[0][:, None, None] + square[1][None, :, None] + square[2][None, None, :] < 1
        d, h, w = (part.stop - part.start for part in box)
        fine_shape = (d, _SUBSAMPLES[0], h, _SUBSAMPLES[1], w, _SUBSAMPLES[2])
        return box, inside.reshape(fine_shape).mean(axis=(1, 3, 5), dtype=np.float32)


def place(volume: Volume, thorax: Thorax, lung: Array, rng: np.random.Generator) -> list[Nodule]:
    """One to three nodules wholly within a lung, off the hila and apart from each other."""
    nodules: list[Nodule] = []
    wanted = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    for _ in range(4000):
        if len(nodules) == wanted:
            return nodules
        radius = float(rng.uniform(3.0, 15.0)) / (1.0 if not nodules else 1.4)
        ratio = rng.uniform(0.85, 1.0, 3)
        radii = np.maximum(radius * ratio / ratio.max(), 2.9)
        centre = rng.uniform((-110, -85, -thorax.half_width), (thorax.apex, 90, thorax.half_width))
        part_solid = radius > 6 and rng.random() < 0.25
        hu, core = (rng.uniform(-560, -420), rng.uniform(0.4, 0.6)) if part_solid else (rng.uniform(5, 60), 0.0)
        nodule = Nodule("part-solid nodule" if part_solid else "solid nodule", tuple(centre), tuple(radii), hu, core)
        box, cover = nodule.covers(volume)
        off_hilum = np.linalg.norm(centre - (0, 8, 45 * np.sign(centre[2]))) > 30 + radius
        apart = all(np.linalg.norm(centre - other.centre) > radius + max(other.radii) + 12 for other in nodules)
        if cover.size and off_hilum and apart and lung[box][cover > 0].min() > 0.99:
            nodules.append(nodule)
    raise RuntimeError("no room for the nodules in this lung")


def plant(volume: Volume, nodule: Nodule) -> NDArray[np.bool_]:
    """Mix the nodule into the volume; the voxels that it fills by more than half."""
    mask = np.zeros(volume.hu.shape, dtype=bool)
    box, cover = nodule.covers(volume)
    view = volume.hu[box]
    # a vessel that runs through ground glass stays as bright as it is
    view += cover * np.maximum(np.float32(nodule.hu) - view, 0)
    mask[box] = cover > 0.5
    if nodule.core:
        box, cover = nodule.covers(volume, nodule.core)
        view = volume.hu[box]
        view += cover * np.maximum(np.float32(30) - view, 0)
    return mask
