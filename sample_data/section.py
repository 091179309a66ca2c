"""A section of tissue as two fields, hematoxylin and eosin, and the random fields and nuclei that it is built from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Section:
    """Stain concentrations (H, W) into which structures are drawn; `chromatin` is a tile of nuclear texture."""

    hematoxylin: Field
    eosin: Field
    chromatin: Field

    @classmethod
    def blank(cls, shape: tuple[int, int], draw: np.random.Generator) -> Section:
        """Glass without tissue."""
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.float32), noise(draw, (128, 128), 1.1, 1.1))

    def nucleus(
        self,
        draw: np.random.Generator,
        at: tuple[float, float],
        half_axes: tuple[float, float],
        angle: float,
        density: float,
        *,
        rough: float = 0.05,
        texture: float = 0.12,
        nucleolus: bool = False,
        covered: Mask | None = None,
    ) -> None:
        """Draw a nucleus: an ellipse (`half_axes` in pixels, the first along `angle`) of uneven outline and chromatin.

        `rough` is the relative unevenness of the outline. Pixels that it covers become True in `covered`.
        """
        half = int(max(half_axes) * (1 + 2 * rough)) + 3
        row, column = int(at[0]), int(at[1])
        top, left = max(row - half, 0), max(column - half, 0)
        rows = slice(top, min(row + half + 1, self.eosin.shape[0]))
        columns = slice(left, min(column + half + 1, self.eosin.shape[1]))
        phase = draw.uniform(0, 2 * np.pi, 3).astype(np.float32)
        shift = draw.integers(0, 128 - 1, 2)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(at[0])
        x = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(at[1])
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = (x * cos + y * sin) / half_axes[0], (y * cos - x * sin) / half_axes[1]
        turn = np.arctan2(v, u)
        outline = 1 + rough * (
            np.cos(2 * turn + phase[0]) + 0.6 * np.cos(3 * turn + phase[1]) + 0.4 * np.cos(5 * turn + phase[2])
        )
        depth = (outline - np.hypot(u, v)) * min(half_axes)  # pixels inside the outline
        share = np.clip(depth / 1.2 + 0.5, 0, 1)
        tile = self.chromatin.take((np.arange(y.size) + shift[0]) % 128, 0).take(
            (np.arange(x.size) + shift[1]) % 128, 1
        )
        content = density * (0.86 + texture * tile + 0.22 * np.exp(-((depth - 0.8) ** 2)))
        if nucleolus:
            content += 0.45 * np.exp(-0.5 * ((u - 0.2) ** 2 + v**2) * min(half_axes) ** 2 / 1.3)
        self.hematoxylin[rows, columns] += share * (content - self.hematoxylin[rows, columns])
        self.eosin[rows, columns] *= 1 - 0.6 * share
        if covered is not None:
            covered[rows, columns] |= share >= 0.5


def noise(draw: np.random.Generator, shape: tuple[int, int], along: float, across: float, angle: float = 0.0) -> Field:
    """Gaussian noise of zero mean and unit variance, periodic.

    `along` and `across` are its correlation (sigma, pixels), the first at `angle` from the rows.
    """
    spectrum = np.fft.rfft2(draw.standard_normal(shape, dtype=np.float32))
    fy = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(shape[1]).astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    pass_band = np.exp(-2 * np.pi**2 * ((along * (fx * cos + fy * sin)) ** 2 + (across * (fy * cos - fx * sin)) ** 2))
    field = np.fft.irfft2(spectrum * pass_band, s=shape)
    return (field / field.std()).astype(np.float32)


def coarse_noise(draw: np.random.Generator, shape: tuple[int, int], sigma: float) -> Field:
    """Isotropic `noise` of long correlation, drawn on every eighth pixel and interpolated."""
    small = (shape[0] // 8 + 2, shape[1] // 8 + 2)
    return _enlarged(noise(draw, small, sigma / 8, sigma / 8), shape)


def _enlarged(field: Field, shape: tuple[int, int]) -> Field:
    """Linear interpolation of every eighth pixel to all of them."""
    for axis in (0, 1):
        at = np.arange(shape[axis], dtype=np.float32) / 8
        low = at.astype(np.intp)
        weight = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        field = field.take(low, axis) * (1 - weight) + field.take(low + 1, axis) * weight
    return field


def blurred(field: Field, passes: int) -> Field:
    """Binomial blur, (1 2 1)/4 along rows and columns: n `passes` are a Gaussian of sqrt(n / 2) pixels."""
    for axis in (0, 1):
        for _ in range(passes):
            edge = [(1, 1) if i == axis else (0, 0) for i in range(field.ndim)]
            wide = np.moveaxis(np.pad(field, edge, mode="edge"), axis, 0)
            field = np.moveaxis(0.25 * (wide[:-2] + wide[2:]) + 0.5 * wide[1:-1], 0, axis)
    return field


def cells(
    draw: np.random.Generator, shape: tuple[int, int], spacing: float, jitter: float, soft: float
) -> tuple[NDArray[np.float32], NDArray[np.intp], Field]:
    """A mosaic of cells: seeds (N, 2) in pixels, the seed that owns each pixel (H, W), how far its border is (H, W).

    The Voronoi diagram of a jittered lattice. `soft` (pixels) rounds the corners: there the border seems nearer.
    """
    count = (int(shape[0] / spacing) + 3, int(shape[1] / spacing) + 3)
    lattice = np.stack(np.meshgrid(*map(np.arange, count), indexing="ij"), axis=-1)
    seeds = ((lattice - 0.5 + draw.uniform(-jitter, jitter, (*count, 2))) * spacing).astype(np.float32)
    y, x = np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)
    row, column = (y / spacing + 1).astype(np.intp), (x / spacing + 1).astype(np.intp)
    first = np.full(shape, np.inf, np.float32)
    crowd = np.zeros(shape, np.float32)
    owner = np.zeros(shape, np.intp)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            i, j = np.clip(row + dy, 0, count[0] - 1), np.clip(column + dx, 0, count[1] - 1)
            seed = seeds[i, j]
            distance = np.hypot(y - seed[..., 0], x - seed[..., 1])
            nearer = distance < first
            crowd += np.exp(-distance / np.float32(soft))
            owner[nearer] = (i * count[1] + j)[nearer]
            first = np.minimum(first, distance)
    others = np.clip(crowd - np.exp(-first / np.float32(soft)), 1e-30, None)
    return seeds.reshape(-1, 2), owner, (-np.float32(soft) * np.log(others) - first) / 2
