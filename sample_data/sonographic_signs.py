"""The signs of disease that a lung ultrasound shows: B-lines and subpleural consolidation.

After Lichtenstein, Chest 2015;147:1659 (BLUE-protocol), and Volpicelli et al., Intensive Care Med 2012;38:577.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sample_data.convex import Echo, Field
from sample_data.intercostal_view import amplitude, bump, step
from sample_data.phantom import stream


@dataclass(frozen=True)
class BLine:
    """A B-line: born at `at_mm` on the lung's surface, `sigma_mm` wide there, widening with depth as the beam does."""

    at_mm: float
    sigma_mm: float
    gain_db: float
    decay_db_per_mm: float
    phase: float  # of its flicker

    def column(self, lung_mm: Field) -> Field:
        """(LINES,) profile across it, 1 in the middle; `lung_mm` (LINES,) is the place on the lung below each line."""
        return bump(lung_mm - self.at_mm, self.sigma_mm)

    def along(self, below: Field, frame: int) -> Field:
        """Amplitude down the line: it hardly fades, and rings as it falls."""
        fall = amplitude(self.gain_db + 1.2 * np.sin(self.phase + 0.35 * frame) - self.decay_db_per_mm * below)
        return fall * (1 + np.float32(0.3) * np.cos(np.float32(2 * np.pi / 1.7) * below))


@dataclass(frozen=True)
class Consolidation:
    """Airless lung under the pleura; `depth_mm` (N,) below the pleura at `along_mm` (N,): the shredded deep border."""

    along_mm: Field
    depth_mm: Field
    bronchi: tuple[tuple[float, float], ...]  # air in bronchi: (along, depth) mm

    def deep(self, lung_mm: Field) -> Field:
        """(LINES,) mm below the pleura that the airless part reaches; 0 beside it."""
        return np.interp(lung_mm, self.along_mm, self.depth_mm, left=0, right=0).astype(np.float32)

    def cover(self, lung_mm: Field) -> Field:
        """(LINES,) 1 over the consolidation, 0 beside it."""
        return np.clip(self.deep(lung_mm) / 3, 0, 1)

    def replace(self, lung: Echo, scatter: Echo, below: Field, lung_mm: Field) -> Echo:
        """The lung's scatterers with this in it: hypoechoic, torn bright deep border, dirty enhancement behind it."""
        deep, cover = self.deep(lung_mm), self.cover(lung_mm)
        airless = step(below, 0.3) * step(deep - below, 0.25)
        behind = np.clip(below - deep, 0, None)
        streaks = amplitude(-18 + 4 * np.sin(2.6 * lung_mm) - 0.40 * behind) * step(below - deep, 0.3) * cover
        out = (lung * (1 - cover) + streaks * scatter) * (1 - airless) + amplitude(-35) * airless * scatter
        out += bump(below - deep, 0.5) * cover * (amplitude(-20) + amplitude(-7) * scatter)
        for along, depth in self.bronchi:
            out += bump(lung_mm - along, 0.5) * bump(below - depth, 0.5) * airless * amplitude(-18)
        return out.astype(np.complex64)


def disease(seed: int) -> tuple[tuple[BLine, ...], Consolidation | None]:
    """What makes a seed's chest sick: B-lines (three or more), a consolidation, or both."""
    draw = stream(seed, "lung ultrasound, disease")
    kind = draw.choice(["lines", "consolidation", "both"], p=[0.45, 0.25, 0.3])
    lines: list[BLine] = []
    if kind != "consolidation":
        count = int(draw.integers(3, 6))
        window = draw.choice([0, -32, 32], p=[0.7, 0.15, 0.15])  # between the middle ribs, or beyond one of them
        places = window + (np.arange(count) - (count - 1) / 2) * draw.uniform(7, 10) + draw.normal(0, 1.2, count)
        for place in places:
            sigma = draw.uniform(0.7, 1.3) if draw.random() < 0.7 else draw.uniform(1.8, 3.0)  # some run together
            gain, decay, phase = draw.uniform(-12, -7), draw.uniform(0.06, 0.14), draw.uniform(0, 6)
            lines.append(BLine(float(place), float(sigma), float(gain), float(decay), float(phase)))
    if kind == "lines":
        return tuple(lines), None
    half, deep, middle = draw.uniform(8, 16), draw.uniform(11, 24), draw.normal(0, 3)
    along = np.linspace(-half, half, 129)
    rough = np.zeros_like(along)
    for octave in range(5):  # the border is torn at every scale
        knots = draw.normal(0, 0.30 / 1.5**octave, 2 ** (octave + 1) + 2)
        rough += np.interp(along, np.linspace(-half, half, len(knots)), knots)
    depth = deep * np.sqrt(np.clip(1 - (along / half) ** 2, 0, None)) * np.clip(1 + rough, 0.35, 1.6)
    bronchi = tuple(
        (float(middle + x), float(deep * z * np.sqrt(1 - (x / half) ** 2)))
        for x, z in zip(draw.uniform(-0.7, 0.7, 5) * half, draw.uniform(0.2, 0.7, 5), strict=True)
    )
    return tuple(lines), Consolidation((along + middle).astype(np.float32), depth.astype(np.float32), bronchi)
