"""The chest under the probe as a seed draws it, sick or not: wall, ribs, pleura, breathing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sample_data.convex import LINES, SAMPLES, Convex, Echo, Field, white
from sample_data.phantom import stream


@dataclass(frozen=True)
class Chest:
    """What one seed draws whether sick or not: probe, wall, pleura, breathing. Lengths in mm, angles in radians."""

    probe: Convex
    pleura: Field  # (LINES,) depth of the pleural line at rest
    rib_angles: tuple[float, ...]
    rib_half_width: float
    rib_depth: float  # of a rib's surface, below the face
    slide_mm: Field  # (T,) lateral displacement of the lung
    heave_mm: Field  # (T,) displacement of the pleura in depth
    frame_time_ms: int
    shadow_db: float
    shadow_edge_mm: float  # half-width of the penumbra at the face
    haze_db: float  # reverberation under the pleura, at the pleura
    haze_db_per_mm: float
    a_line_db: float  # of the first A-line
    tail_mm: float | None  # where a harmless comet-tail hangs from the pleura

    @classmethod
    def of_seed(cls, seed: int) -> Chest:
        """The chest that belongs to a seed."""
        draw = stream(seed, "lung ultrasound, chest")
        probe = Convex(
            float(draw.uniform(48, 62)), float(np.deg2rad(draw.uniform(28, 31))), float(draw.uniform(85, 118))
        )
        theta = probe.angles
        depth = draw.uniform(19, 29)
        # a flat pleura under a round face lies deeper at the edges; pressing the probe on bends it part of the way back
        flat = (probe.radius + depth) * (1 / np.cos(theta) - 1)
        ripple = sum(draw.normal(0, 0.15) * np.sin(k * 5 * theta + draw.uniform(0, 6)) for k in (1, 2, 3))
        pleura = depth + draw.uniform(0.2, 0.75) * flat + draw.normal(0, 2) * theta + ripple
        spacing = draw.uniform(30, 37) / (probe.radius + depth)
        middle = draw.normal(0, 0.025)
        frames, frame_time = int(draw.integers(24, 33)), int(draw.integers(40, 67))
        phase = 2 * np.pi * (np.arange(frames) * frame_time / 1000 / draw.uniform(2.2, 3.6) + draw.uniform())
        return cls(
            probe=probe,
            pleura=pleura.astype(np.float32),
            rib_angles=tuple(float(middle + k * spacing) for k in (-1.5, -0.5, 0.5, 1.5)),
            rib_half_width=float(draw.uniform(5.0, 6.5)),
            rib_depth=float(depth - draw.uniform(6, 9)),
            slide_mm=(draw.uniform(2.5, 4.5) * np.sin(phase)).astype(np.float32),
            heave_mm=(draw.uniform(0.2, 0.6) * np.cos(phase)).astype(np.float32),
            frame_time_ms=frame_time,
            shadow_db=float(draw.uniform(-30, -17)),
            shadow_edge_mm=float(draw.uniform(0.6, 1.6)),
            haze_db=float(draw.uniform(-24, -18)),
            a_line_db=float(draw.uniform(-23, -16)),
            haze_db_per_mm=float(draw.uniform(0.28, 0.55)),
            tail_mm=float(draw.uniform(-6, 6)) if draw.random() < 0.4 else None,
        )

    @property
    def reach(self) -> float:
        """Distance of the pleura from the centre of the array: mm along the pleura per radian."""
        return self.probe.radius + float(self.pleura.mean())

    @cached_property
    def facing(self) -> Field:
        """(LINES,) how well the pleura mirrors: 1 where the beam meets it square."""
        return bump(np.gradient(self.pleura, self.probe.angles) / self.reach, 0.13)

    def lung_mm(self, frame: int) -> Field:
        """(LINES,) position along the lung's surface under each scan line: fixed to the lung, which slides."""
        return (self.probe.angles * self.reach - self.slide_mm[frame]).astype(np.float32)

    def transmission(self) -> Field:
        """(SAMPLES, LINES) share of the beam that passes the ribs; the shadow's edges blur with depth."""
        passed = np.ones((SAMPLES, LINES), np.float32)
        for angle in self.rib_angles:
            across = np.abs(self.probe.angles - angle) * (self.probe.radius + self.rib_depth)
            behind = step(self.probe.depths - self.rib_surface(angle) - 1.2, 0.4)
            soft = self.shadow_edge_mm + 0.016 * self.probe.depths
            passed *= 1 - behind * (1 - 10 ** (self.shadow_db / 20)) * step(self.rib_half_width - across, soft)
        return passed

    def rib_surface(self, angle: float) -> Field:
        """(LINES,) depth of the rib's outer cortex, round towards the probe."""
        across = (self.probe.angles - angle) * (self.probe.radius + self.rib_depth)
        return (self.rib_depth + across**2 / 16).astype(np.float32)


def wall(seed: int, chest: Chest) -> Echo:
    """Scatterers of what does not slide: skin, fat with septa, muscle with fascia, ribs; down to the pleura."""
    draw = stream(seed, "lung ultrasound, wall")
    r, theta = chest.probe.depths, chest.probe.angles
    share = r / chest.pleura  # 0 at the face, 1 at the pleura: layers follow the pleura
    fascia = draw.uniform(0.38, 0.52)
    db = np.select([share < 0.07, share < fascia], [-20.0, -30.0], -26.0).astype(np.float32)
    # septa and fibres: bright sheets along the layers, short axially and long laterally
    for _ in range(int(draw.integers(22, 32))):
        at, slope = draw.uniform(0.06, 0.97), draw.normal(0, 0.05)
        middle, reach = draw.uniform(-0.55, 0.55), draw.uniform(0.05, 0.3)
        sheet = at + slope * (theta - middle) + 0.01 * np.sin(theta * draw.uniform(8, 22) + draw.uniform(0, 6))
        db += draw.uniform(7, 17) * bump(share - sheet, draw.uniform(0.010, 0.022)) * bump(theta - middle, reach)
    db += 18 * bump(share - fascia, 0.014)
    field = amplitude(db) * white(draw)
    # the face itself rings for some millimetres
    for order, at in enumerate(np.arange(0.4, 7, draw.uniform(1.0, 1.4))):
        field += amplitude(-24 - 3.0 * order) * bump(r - at, 0.25)
    field *= step(chest.pleura - r, 0.3)
    bone = white(draw)
    for angle in chest.rib_angles:
        across = (theta - angle) * (chest.probe.radius + chest.rib_depth) / chest.rib_half_width
        cortex = bump(r - chest.rib_surface(angle), 0.45) * np.exp(-(across**4) - 0.6 * across**2)
        field += cortex * (amplitude(-17) + amplitude(-9) * bone)
    return field.astype(np.complex64)


def step(x: Field, width: Field | float) -> Field:
    """Smooth step from 0 (x well below 0) to 1."""
    return (0.5 + 0.5 * np.tanh(x / width)).astype(np.float32)


def bump(x: Field, sigma: float) -> Field:
    """Gaussian of height 1."""
    return np.exp(-0.5 * (x / np.float32(sigma)) ** 2)


def amplitude(db: Field | float) -> Field:
    """Amplitude of a level in dB; 0 dB is white on the screen."""
    return np.power(np.float32(10), np.asarray(db, np.float32) / np.float32(20))
