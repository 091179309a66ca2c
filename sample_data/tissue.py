"""Breast tissue, structure by structure: stroma, fat, glands, lymphocytes, and nests of invasive carcinoma."""

from __future__ import annotations

import numpy as np

from sample_data.section import Field, Mask, Section, blurred, cells, coarse_noise, noise


def stroma(section: Section, draw: np.random.Generator) -> Field:
    """Fill the section with wavy collagen and slits between its bundles; the fibres' direction (H, W) in radians."""
    shape = section.eosin.shape
    angle = draw.uniform(0, np.pi)
    bend = 10 * coarse_noise(draw, shape, 26)
    fine = _bent(noise(draw, shape, 9, 1.2, angle), bend, angle)
    bundles = _bent(noise(draw, shape, 40, 5, angle), bend, angle)
    dense = draw.uniform(0.26, 0.38)
    slits = np.clip((bundles + draw.uniform(1.2, 2.2)) / 0.4, 0, 1)
    section.eosin[:] = np.clip(dense + 0.07 * fine + 0.09 * bundles + 0.03 * noise(draw, shape, 0.8, 0.8), 0.04, None)
    section.eosin[:] *= 0.12 + 0.88 * slits
    section.hematoxylin[:] = np.clip(0.05 + 0.02 * fine, 0, None) * slits
    along = np.gradient(bend, axis=1) * np.cos(angle) + np.gradient(bend, axis=0) * np.sin(angle)
    return angle + np.arctan(along)


def _bent(field: Field, bend: Field, angle: float) -> Field:
    """The field displaced by `bend` pixels across `angle`."""
    rows, columns = np.indices(field.shape, dtype=np.float32)
    rows -= bend * np.float32(np.cos(angle))
    columns += bend * np.float32(np.sin(angle))
    return field[np.rint(rows).astype(np.intp) % field.shape[0], np.rint(columns).astype(np.intp) % field.shape[1]]


def fibroblasts(section: Section, draw: np.random.Generator, direction: Field, free: Mask, density: float) -> None:
    """Thin dark nuclei along the fibres; `density` per square pixel, only where `free`."""
    for at in scattered(draw, free, density):
        angle = float(direction[int(at[0]), int(at[1])] + draw.normal(0, 0.25))
        axes = (float(draw.uniform(6, 12)), float(draw.uniform(1.5, 2.8)))
        section.nucleus(draw, at, axes, angle, float(draw.uniform(0.6, 0.95)), rough=0.1)


def scattered(draw: np.random.Generator, where: Mask, density: float) -> list[tuple[float, float]]:
    """Random points of `where`, `density` per square pixel."""
    points = draw.uniform(0, 1, (int(draw.poisson(density * where.size)), 2)) * where.shape
    return [(float(y), float(x)) for y, x in points if where[int(y), int(x)]]


def fat(section: Section, draw: np.random.Generator, where: Field) -> Mask:
    """Fat cells, empty, with a thin wall, where `where` (H, W) is positive at their middle; the mask they fill."""
    shape = section.eosin.shape
    seeds, owner, border = cells(draw, shape, draw.uniform(66, 92), 0.38, 7)
    middle = np.clip(seeds, 0, np.array(shape) - 1).astype(np.intp)
    region = (where[middle[:, 0], middle[:, 1]] > 0)[owner]
    wall = draw.uniform(1.2, 2.0)
    lumen = np.clip((border - wall) / 1.2, 0, 1) * region
    section.eosin[:] *= 1 - lumen
    section.hematoxylin[:] *= 1 - lumen
    return region


def gland(section: Section, draw: np.random.Generator, at: tuple[float, float], radius: float, taken: Field) -> None:
    """A benign acinus or duct: a lumen, one orderly ring of nuclei, flat myoepithelium, a basement membrane.

    `taken` (H, W) is raised to the pixels inside the outer border, negative outside.
    """
    height = min(float(draw.uniform(17, 22)), radius * 0.75)  # of the epithelium
    half = int(radius * 1.35) + 16
    rows = slice(max(int(at[0]) - half, 0), max(min(int(at[0]) + half, section.eosin.shape[0]), 0))
    columns = slice(max(int(at[1]) - half, 0), max(min(int(at[1]) + half, section.eosin.shape[1]), 0))
    waves = [(k, draw.uniform(0.02, 0.22) / k, draw.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)]

    def outline(turn: Field | float) -> Field:
        return radius * (1 + sum(a * np.cos(k * turn + phase) for k, a, phase in waves))

    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - at[0]
    x = np.arange(columns.start, columns.stop, dtype=np.float32) - at[1]
    inside = outline(np.arctan2(y, x)) - np.hypot(y, x)  # pixels inside the basement membrane
    taken[rows, columns] = np.maximum(taken[rows, columns], inside)
    secretion = draw.uniform(0.1, 0.3) if draw.random() < 0.35 else 0.0
    eosin, hematoxylin = section.eosin[rows, columns], section.hematoxylin[rows, columns]
    eosin *= 1 - 0.45 * np.clip((inside + 16) / 10, 0, 1)  # loose stroma around a gland
    eosin += 0.25 * np.exp(-0.5 * ((inside + 1) / 1.1) ** 2)
    epithelium = np.clip(inside / 1.2 + 0.5, 0, 1)
    lumen = np.clip((inside - height) / 1.5 + 0.5, 0, 1)
    grain = 1 + 0.12 * section.chromatin.take(np.arange(y.size) % 128, 0).take(np.arange(x.size) % 128, 1)
    eosin += epithelium * ((0.27 * (1 - lumen) + secretion * lumen) * grain - eosin)
    hematoxylin += epithelium * (0.13 * (1 - lumen) * grain - hematoxylin)
    for depth, step, axes, density in ((0.45 * height, 12.5, (6.6, 5.0), 0.72), (3.0, 26.0, (6.5, 2.1), 0.85)):
        count = max(int(2 * np.pi * (radius - depth) / step), 4)
        for turn in 2 * np.pi * (np.arange(count) + draw.uniform(-0.12, 0.12, count)) / count:
            reach = float(outline(turn)) - depth + draw.normal(0, 0.9)
            place = (at[0] + reach * np.sin(turn), at[1] + reach * np.cos(turn))
            tilt = turn + (np.pi / 2 if depth == 3.0 else 0) + draw.normal(0, 0.12)
            size = tuple(float(axis * draw.uniform(0.92, 1.08)) for axis in axes)
            section.nucleus(draw, place, (size[0], size[1]), tilt, density * draw.uniform(0.92, 1.08), rough=0.03)


def lymphocytes(section: Section, draw: np.random.Generator, at: tuple[float, float], radius: float) -> None:
    """A crowd of small round dark nuclei: inflammation, in itself no sign of a tumour."""
    for _ in range(int(radius**2 / 30)):
        reach, turn = radius * np.sqrt(draw.uniform()), draw.uniform(0, 2 * np.pi)
        place = (at[0] + reach * np.sin(turn), at[1] + reach * np.cos(turn) * 1.3)
        size = float(draw.uniform(4.4, 5.6))
        section.nucleus(draw, place, (size, size * 0.93), turn, float(draw.uniform(0.95, 1.15)), rough=0.02)


def nests(section: Section, draw: np.random.Generator, where: Field) -> Mask:
    """Carcinoma where `where` (H, W; pixels inside the border) is positive: crowded, large, uneven dark nuclei.

    Returns the mask of exactly what was drawn: the nests, and nuclei that bulge out of them.
    """
    shape = section.eosin.shape
    seeds, _, border = cells(draw, shape, draw.uniform(15.5, 18.5), 0.45, 0.8)
    share = np.clip(where / 1.5 + 0.5, 0, 1)
    if draw.random() < 0.5:  # shrinkage leaves a cleft between nest and stroma
        near = blurred(share, 5)
        section.eosin[:] *= 1 - 3.4 * near * (1 - near)
    cracks = 1 - draw.uniform(0.1, 0.75) * np.exp(-((border / 1.1) ** 2))
    grain = 1 + 0.15 * noise(draw, shape, 1.5, 1.5)
    section.eosin[:] += share * (draw.uniform(0.26, 0.38) * grain * cracks - section.eosin)
    section.hematoxylin[:] += share * (draw.uniform(0.16, 0.28) * grain * cracks - section.hematoxylin)
    mask = where > 0
    dark, spread = draw.uniform(0.85, 1.05), draw.uniform(0.16, 0.26)
    at = np.rint(seeds).astype(np.intp)
    within = (at >= 0).all(axis=1) & (at < shape).all(axis=1)
    for seed, (row, column) in zip(seeds[within], at[within], strict=True):
        if where[row, column] < 4:
            continue
        size = float(np.clip(7.4 * np.exp(draw.normal(0, spread)), 5, 13))
        axes = (size, size * float(draw.uniform(0.62, 0.95)))
        density = float(np.clip(dark + draw.normal(0, 0.14), 0.55, 1.35))
        section.nucleus(
            draw, (float(seed[0]), float(seed[1])), axes, float(draw.uniform(0, np.pi)), density,
            rough=0.08, texture=0.2, nucleolus=bool(draw.random() < 0.35), covered=mask,
        )  # fmt: skip
    return mask
