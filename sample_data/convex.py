"""A convex ultrasound probe: scan lines by depth samples, the echo of such a beam, and the sector on the screen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]  # (SAMPLES, LINES), or (LINES,) or (SAMPLES, 1)
Echo = NDArray[np.complex64]  # (SAMPLES, LINES)

LINES, SAMPLES = 192, 480
AXIAL_SIGMA_MM, LATERAL_SIGMA_LINES = 0.30, 1.6
ROWS, COLUMNS = 240, 320
_TOP, _HEIGHT, _WIDTH = 13, 222, 298  # where the sector lies on the screen, in pixels


@dataclass(frozen=True)
class Convex:
    """Curved array of `radius` mm that sees `2 * half_angle` radians to `depth` mm below its face."""

    radius: float
    half_angle: float
    depth: float

    @cached_property
    def angles(self) -> Field:
        """(LINES,) radians of each scan line from the axis, left to right."""
        return np.linspace(-self.half_angle, self.half_angle, LINES, dtype=np.float32)

    @cached_property
    def depths(self) -> Field:
        """(SAMPLES, 1) mm below the face."""
        return np.linspace(0, self.depth, SAMPLES, dtype=np.float32)[:, None]

    @cached_property
    def pixel_mm(self) -> float:
        """Edge of a screen pixel; the same along rows and columns."""
        reach = self.radius + self.depth
        return max(
            (reach - self.radius * float(np.cos(self.half_angle))) / _HEIGHT,
            2 * reach * float(np.sin(self.half_angle)) / _WIDTH,
        )

    @cached_property
    def _polar(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Fractional sample and line of each screen pixel, and whether it lies in the sector."""
        y = self.radius * np.cos(self.half_angle) + (np.arange(ROWS)[:, None] - _TOP) * self.pixel_mm
        x = (np.arange(COLUMNS)[None] - (COLUMNS - 1) / 2) * self.pixel_mm
        sample = (np.hypot(x, y) - self.radius) / self.depth * (SAMPLES - 1)
        line = (np.arctan2(x, y) / self.half_angle + 1) / 2 * (LINES - 1)
        inside = (sample >= 0) & (sample <= SAMPLES - 1) & (line >= 0) & (line <= LINES - 1)
        return sample, line, inside

    @property
    def sector(self) -> NDArray[np.bool_]:
        """(ROWS, COLUMNS) pixels that show tissue."""
        return self._polar[2]

    def pixel_of(self, angle: float, depth: float) -> tuple[float, float]:
        """Row and column of the point at `angle` radians, `depth` mm below the face."""
        reach = self.radius + depth
        row = _TOP + (reach * np.cos(angle) - self.radius * np.cos(self.half_angle)) / self.pixel_mm
        return float(row), float((COLUMNS - 1) / 2 + reach * np.sin(angle) / self.pixel_mm)

    @cached_property
    def _neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Four flat polar indices (4, N) and bilinear weights for the N pixels of the sector."""
        sample, line, inside = self._polar
        sample, line = sample[inside], line[inside]
        s0 = np.minimum(sample.astype(np.intp), SAMPLES - 2)
        l0 = np.minimum(line.astype(np.intp), LINES - 2)
        fs, fl = sample - s0, line - l0
        flat = s0 * LINES + l0
        weights = np.stack([(1 - fs) * (1 - fl), (1 - fs) * fl, fs * (1 - fl), fs * fl])
        return np.stack([flat, flat + 1, flat + LINES, flat + LINES + 1]), weights.astype(np.float32)

    def on_screen(self, polar: Field) -> Field:
        """Scan conversion: (SAMPLES, LINES) to (ROWS, COLUMNS) by bilinear interpolation, 0 outside the sector."""
        index, weight = self._neighbours
        screen = np.zeros((ROWS, COLUMNS), np.float32)
        screen[self.sector] = (polar.reshape(-1)[index] * weight).sum(axis=0)
        return screen

    @cached_property
    def _nearest(self) -> NDArray[np.intp]:
        """Flat polar index nearest to each of the N pixels of the sector."""
        sample, line, inside = self._polar
        return np.rint(sample[inside]).astype(np.intp) * LINES + np.rint(line[inside]).astype(np.intp)

    def mask_on_screen(self, polar: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Scan conversion of a mask by the nearest sample, False outside the sector."""
        screen = np.zeros((ROWS, COLUMNS), bool)
        screen[self.sector] = polar.reshape(-1)[self._nearest]
        return screen

    def echo(self, scatterers: Echo) -> Echo:
        """(SAMPLES, LINES) complex echo: scatterers through a Gaussian pulse (axially) and beam (laterally).

        White circular scatterers of unit power give an echo of unit power whose envelope is Rayleigh: fully developed
        speckle (Burckhardt, IEEE Trans Sonics Ultrason 1978;25:1).
        """
        axial = _smooth(scatterers, AXIAL_SIGMA_MM / self.depth * (SAMPLES - 1), axis=0)
        return _smooth(axial, LATERAL_SIGMA_LINES, axis=1)


def white(generator: np.random.Generator) -> Echo:
    """(SAMPLES, LINES) circular Gaussian scatterers of unit power."""
    pair = generator.standard_normal((2, SAMPLES, LINES), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return (pair[0] + 1j * pair[1]).astype(np.complex64)


def _smooth(field: Echo, sigma: float, axis: int) -> Echo:
    """Gaussian of unit energy (not unit sum) along one axis; nothing lies beyond the edges."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)
    padding = [(0, 0), (0, 0)]
    padding[axis] = (reach, reach)
    padded = np.pad(field, padding)
    size = field.shape[axis]
    out = np.zeros_like(field)
    for offset, weight in enumerate(kernel):
        out += weight * (padded[offset : offset + size] if axis == 0 else padded[:, offset : offset + size])
    return out
