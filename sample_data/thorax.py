"""One invented thorax as numbers in mm: the shapes that the CT voxelises and the X-ray projects.

Coordinates are (z, y, x) mm, z towards the head, y towards the back, x towards the patient's left; the origin lies in
the middle of the chest. Every shape is given by a distance that is negative inside, exact enough near its surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sample_data.phantom import stream
from sample_data.vessels import Point, Tube, grow

Array = NDArray[Any]  # float32 but for numbers that went in as Python floats
CAVITY_POWER, BODY_POWER = 2.25, 2.45  # superellipses: a chest is squarer than an ellipse
_WIDEST = -45.0  # z at which the rib cage is widest


@dataclass(frozen=True)
class Thorax:
    """Sizes in mm; `domes` are the tops of the right and left diaphragm, `heart` and `heart_radii` are (z, y, x)."""

    sex: str
    half_width: float
    half_depth: float
    apex: float
    domes: tuple[float, float]
    wall: float
    fat: float
    heart: Point
    heart_radii: Point
    aorta: float
    rib_pitch: float
    rib_phase: float
    rib_drop: float

    @classmethod
    def of_seed(cls, seed: int) -> Thorax:
        """The thorax of a seed; the same for the healthy and the sick phantom."""
        rng = stream(seed, "thorax")
        size = rng.uniform(0.93, 1.05)
        heart = rng.uniform(0.88, 1.12)
        right_dome = rng.uniform(-72, -56)
        return cls(
            sex="F" if rng.random() < 0.5 else "M",
            half_width=130 * size * rng.uniform(0.97, 1.02),
            half_depth=84 * size * rng.uniform(0.95, 1.06),
            apex=122 * size,
            domes=(right_dome, right_dome - rng.uniform(4, 16)),
            wall=rng.uniform(11, 14),
            fat=rng.uniform(4, 13),
            heart=(-48 + rng.uniform(-5, 5), -26.0, 20 + rng.uniform(-3, 5)),
            heart_radii=(58 * heart, 44 * heart, 56 * heart),
            aorta=rng.uniform(12, 15.5),
            rib_pitch=rng.uniform(23.5, 26.5),
            rib_phase=rng.uniform(0, 24),
            rib_drop=rng.uniform(72, 95),
        )

    def profile(self, z: Array) -> Array:
        """Width of the rib cage at z relative to its widest: 1 below, closing like a dome at the apex."""
        up = np.clip((z - _WIDEST) / (self.apex - _WIDEST), 0, 1)
        down = np.clip((_WIDEST - z) / 400, 0, 1)
        return np.sqrt(np.maximum(1 - up**2.6, 1e-4)) * (1 - down**2)

    def cavity(self, z: Array, y: Array, x: Array) -> Array:
        """Distance to the inner surface of the rib cage. The apex leans back, the depth closes later than the width."""
        width = np.maximum(self.half_width * self.profile(z), 1.0)
        depth = np.maximum(self.half_depth * self.profile(z) ** 0.8, 1.0)
        return _superellipse(y - self.lean(z), x, depth, width, CAVITY_POWER)

    def lean(self, z: Array) -> Array:
        """Shift in y of the cavity's axis: it moves back towards the neck."""
        return np.asarray(18 * np.clip((z - 20) / 100, 0, 1) ** 1.5, dtype=np.float32)

    def body(self, z: Array, y: Array, x: Array) -> Array:
        """Distance to the skin of the trunk, arms raised."""
        shoulder = 1 + 0.06 * np.clip((z - 40) / 80, 0, 1)
        width = (self.half_width + self.wall + self.fat + 6) * shoulder
        depth = (self.half_depth + self.wall + self.fat + 4) * (1 - 0.16 * np.clip((z - 50) / 90, 0, 1))
        return _superellipse(y - 6, x, depth, width, BODY_POWER)

    def breasts(self, z: Array, y: Array, x: Array) -> Array:
        """Distance to the skin of both breasts, lying flat; far from everything in a man."""
        if self.sex == "M":
            return np.full((1, 1, 1), 1e3, dtype=np.float32)
        front = self.half_depth + self.wall + self.fat
        beside = np.abs(x) - 0.56 * self.half_width
        scaled = np.sqrt(((z + 28) / 62) ** 2 + ((y + front - 20) / 36) ** 2 + (beside / 62) ** 2)
        return 36 * (scaled - 1)

    def above_diaphragm(self, z: Array, y: Array, x: Array) -> Array:
        """Height above the diaphragm: two domes that fall off towards the ribs, with a saddle under the heart."""
        right, left = (
            top
            - 0.0085 * (np.abs(x - side * 0.5 * self.half_width) ** 2)
            - 58 * (np.abs(y + 8) / self.half_depth) ** 2.2
            for top, side in zip(self.domes, (-1, 1), strict=True)
        )
        return z - np.maximum(right, left)

    def mediastinum(self, z: Array, y: Array, x: Array) -> Array:
        """Distance to the middle compartment without the heart: broad at the great vessels, thin behind the sternum."""
        width = 16 + 12 * np.exp(-(((z - 52) / 30) ** 2)) + 9 * np.exp(-(((z + 2) / 25) ** 2))
        thin = np.clip((-y - 22) / 50, 0, 1) ** 1.5 + 0.25 * np.clip((y - 20) / 40, 0, 1)
        return np.abs(x - 2) - width * (1 - 0.85 * thin)

    def heart_distance(self, z: Array, y: Array, x: Array) -> Array:
        """Distance to the pericardium: an ellipsoid whose long axis points left, forward and down."""
        dz, dy, dx = z - self.heart[0], y - self.heart[1], x - self.heart[2]
        tilt = np.float32(np.deg2rad(32))
        dz, dx = np.cos(tilt) * dz + np.sin(tilt) * dx, np.cos(tilt) * dx - np.sin(tilt) * dz
        radial = np.sqrt(dz * dz + dy * dy + dx * dx)
        rz, ry, rx = self.heart_radii
        scaled = np.sqrt((dz / (0.86 * rz)) ** 2 + (dy / ry) ** 2 + (dx / (1.12 * rx)) ** 2)
        return radial * (1 - 1 / np.maximum(scaled, 0.05))

    def lung(self, z: Array, y: Array, x: Array) -> Array:
        """Distance to the pleura of either lung."""
        paravertebral = np.hypot(x, y - 72) - 26
        return np.maximum.reduce(
            np.broadcast_arrays(
                self.cavity(z, y, x),
                -self.mediastinum(z, y, x),
                -self.heart_distance(z, y, x),
                -0.8 * self.above_diaphragm(z, y, x),
                -paravertebral,
            )
        )

    def rib_offset(self, z: Array, y: Array) -> Array:
        """Height above the nearest rib's axis: ribs are one ring, tilted forward, repeated every `rib_pitch`."""
        tilted = z - self.rib_drop * (y - self.half_depth) / (2 * self.half_depth) - self.rib_phase
        return (tilted + self.rib_pitch / 2) % self.rib_pitch - self.rib_pitch / 2

    def great_vessels(self) -> list[Tube]:
        """Aorta with two branches of its arch, pulmonary trunk and its two arteries, upper vena cava."""
        aorta = [(-25, -22, 8), (10, -26, -10), (36, -22, -8), (50, 2, 6), (46, 30, 19), (25, 44, 22), (-170, 46, 20)]
        trunk = [(-25, -44, 22), (5, -34, 20), (16, -12, 14)]
        right, left = [(10, -14, 10), (4, -10, -20), (-4, -4, -42)], [(16, -12, 14), (14, 2, 34), (2, 10, 48)]
        cava = [(-30, -20, -22), (60, -22, -24), (110, -20, -30)]
        branches = [(46, -8, 0), (130, -14, -20)], [(50, 4, 8), (130, 2, 18)]
        paths = ((aorta, self.aorta), (trunk, 13.5), (right, 10), (left, 10), (cava, 9), *((b, 5) for b in branches))
        return [(start, end, radius) for path, radius in paths for start, end in pairwise(path)]

    def airways(self) -> list[Tube]:
        """Trachea, main and lobar bronchi; the radius is that of the air."""
        carina, left, right = (16, 22, 2), (-4, 18, 44), (0, 18, -36)
        main = [((190, 14, 0), carina, 8.5), (carina, left, 6), (carina, right, 7)]
        lobar = [(left, (-40, 30, 56), 4), (left, (14, 4, 62), 3.5), (right, (-44, 30, -52), 4.2)]
        return [*main, *lobar, (right, (26, 8, -56), 3.6)]

    def pulmonary_vessels(self, rng: np.random.Generator, arteries: int, veins: int) -> list[Tube]:
        """An arterial and a venous tree in each lung, grown through that many points."""
        tubes: list[Tube] = []
        for side in (-1, 1):
            points = rng.uniform((-150, -90, 8), (self.apex, 95, self.half_width), (10 * arteries, 3)) * (1, 1, side)
            z, y, x = points.astype(np.float32).T
            inside = points[self.lung(z, y, x) < -7]
            trees = grow((0, 2, side * 44), inside[:arteries], 0.85), grow((-18, 6, side * 38), inside[-veins:], 0.85)
            tubes += [tube for tree in trees for tube in tree]
        return tubes


def _superellipse(y: Array, x: Array, depth: Array, width: Array, power: float) -> Array:
    """Radial distance to |y / depth|^p + |x / width|^p = 1. Powers are taken before broadcasting: they are the cost."""
    summed = np.abs(y / depth) ** power + np.abs(x / width) ** power
    return np.sqrt(y * y + x * x) * (1 - np.maximum(summed, 1e-6) ** (-1 / power))
