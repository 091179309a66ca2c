"""Histopathology of the breast in hematoxylin and eosin: benign tissue, or nests of invasive carcinoma in it.

Tissue is drawn as concentrations of the two stains and turned into colour by Beer-Lambert, as in the microscope.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_data.microscopy import write_patch as write
from sample_data.microscopy import write_slide
from sample_data.phantom import Lesion, Phantom, stream
from sample_data.section import Field, Mask, Section, blurred, coarse_noise
from sample_data.slide_artefacts import spoil
from sample_data.stain import Stain
from sample_data.tissue import fat, fibroblasts, gland, lymphocytes, nests, stroma

__all__ = ["phantom", "slide", "write", "write_slide"]

PIXEL_MM = 0.0005
PATCH, SLIDE = (256, 256), (2048, 2048)
SMALLEST_NEST, SMALLEST_TUMOUR = 500, 3000  # pixels: 125 and 750 um^2


def phantom(seed: int, sick: bool) -> Phantom:
    """A patch of 128 um at 0.5 um per pixel; sick and healthy differ by the nests of tumour alone."""
    draw = stream(seed, "histology, tissue")
    section = Section.blank(PATCH, draw)
    taken = np.full(PATCH, -1e3, np.float32)  # pixels inside the nearest gland
    direction = stroma(section, draw)
    free = np.ones(PATCH, bool)
    if draw.random() < 0.45:
        slope = _reach(PATCH, draw.uniform(-80, 80, 2) + 128)
        free = ~fat(section, draw, slope / 60 - draw.uniform(1.2, 2.2) + 0.4 * coarse_noise(draw, PATCH, 40))
    fibroblasts(section, draw, direction, free, draw.uniform(0.0006, 0.0013))
    for _ in range(int(draw.integers(1, 4))):
        gland(section, draw, _roomiest(draw, taken, 4), float(draw.uniform(32, 62)), taken)
    names: tuple[str, ...] = ()
    if draw.random() < 0.4:
        lymphocytes(section, draw, _roomiest(draw, taken, 3), float(draw.uniform(25, 50)))
        names = ("lymphocytes",)
    mask = _tumour(section, stream(seed, "histology, tumour"), taken) if sick else np.zeros(PATCH, bool)
    return _seen(section, mask, seed, names)


def _tumour(section: Section, draw: np.random.Generator, taken: Field) -> Mask:
    """One to three nests where the glands leave room; more if that came to little."""
    where = np.full(PATCH, -1e3, np.float32)
    count = int(draw.integers(1, 4))
    while count > 0 or (where > 0).sum() < SMALLEST_TUMOUR:
        count -= 1
        at = _roomiest(draw, taken, 8)
        blob = draw.uniform(40, 80) - _reach(PATCH, at) + 14 * coarse_noise(draw, PATCH, 15)
        where = _without_specks(np.maximum(where, np.minimum(blob, -3 - taken)))
    return nests(section, draw, where)


def slide(seed: int, sick: bool = True) -> Phantom:
    """A whole slide, 1 mm at 0.5 um per pixel: a piece of tissue on glass, with tumour in parts of it if sick."""
    draw = stream(seed, "histology, slide")
    section = Section.blank(SLIDE, draw)
    taken = np.full(SLIDE, -1e3, np.float32)
    out = _reach(SLIDE, draw.uniform(-60, 60, 2) + 1024)
    edge = 880 - out * draw.uniform(0.95, 1.1) + 90 * coarse_noise(draw, SLIDE, 130)  # pixels inside the tissue
    direction = stroma(section, draw)
    free = (edge > 8) & ~fat(section, draw, coarse_noise(draw, SLIDE, 170) - draw.uniform(0.2, 0.7))
    fibroblasts(section, draw, direction, free, draw.uniform(0.0006, 0.0011))
    for _ in range(9):
        at, acini = _place(draw, SLIDE, 0.2), int(draw.integers(4, 12))
        for turn in np.arange(acini):  # a lobule: acini packed like seeds in a sunflower
            step, angle = 78 * float(np.sqrt(turn)), 2.4 * float(turn)
            place = (at[0] + step * float(np.sin(angle)), at[1] + step * float(np.cos(angle)))
            radius = float(draw.uniform(28, 42))
            if _inside(place) and taken[int(place[0]), int(place[1])] < -radius:
                gland(section, draw, place, radius, taken)
    for _ in range(6):
        lymphocytes(section, draw, _roomiest(draw, np.maximum(taken, -edge), 6), float(draw.uniform(40, 70)))
    mask = _tumours(section, stream(seed, "histology, slide tumour"), taken, edge) if sick else np.zeros(SLIDE, bool)
    share = np.clip(edge / 3, 0, 1)
    section.eosin[:] *= share
    section.hematoxylin[:] *= share
    return _seen(section, mask & (share > 0.5), seed, ("lymphocytes",))


def _tumours(section: Section, draw: np.random.Generator, taken: Field, edge: Field) -> Mask:
    """Two fields of nests inside the tissue."""
    where = np.full(SLIDE, -1e3, np.float32)
    for side in (-1, 1):
        at = (1024 + draw.uniform(-250, 250), 1024 + side * draw.uniform(220, 380))
        field = draw.uniform(230, 330) - _reach(SLIDE, at) + 40 * coarse_noise(draw, SLIDE, 70)
        where = np.maximum(where, np.minimum(field, 22 * (coarse_noise(draw, SLIDE, 22) + 0.25)))
    return nests(section, draw, _without_specks(np.minimum(np.minimum(where, -3 - taken), edge - 12)))


def _roomiest(draw: np.random.Generator, taken: Field, tries: int) -> tuple[float, float]:
    """Of some random places the one that lies farthest from any gland."""
    places = [_place(draw, (taken.shape[0], taken.shape[1])) for _ in range(tries)]
    return min(places, key=lambda place: float(taken[int(place[0]), int(place[1])]))


def _place(draw: np.random.Generator, shape: tuple[int, int], margin: float = 0.05) -> tuple[float, float]:
    y, x = draw.uniform(margin, 1 - margin, 2) * shape
    return float(y), float(x)


def _inside(place: tuple[float, float]) -> bool:
    return all(0 <= at < size for at, size in zip(place, SLIDE, strict=True))


def _reach(shape: tuple[int, int], at: tuple[float, float] | NDArray[np.float64]) -> Field:
    """(H, W) pixels from a point."""
    y, x = np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)
    return np.hypot(y - np.float32(at[0]), x - np.float32(at[1]))


def _seen(section: Section, mask: Mask, seed: int, names: tuple[str, ...]) -> Phantom:
    """The section stained, mounted, perhaps spoilt, and photographed."""
    draw = stream(seed, "histology, microscope")
    stain = Stain.draw(draw)
    thickness = 1 + 0.05 * coarse_noise(draw, mask.shape, 60)
    density = stain.density(blurred(section.hematoxylin * thickness, 1), blurred(section.eosin * thickness, 1))
    density, spoilt = spoil(density, draw)
    light = stain.light(density) + draw.standard_normal(density.shape, dtype=np.float32)
    lesions = tuple(
        Lesion.of_mask("tumour nest", nest, PIXEL_MM * max(map(np.ptp, np.nonzero(nest)))) for nest in _pieces(mask)
    )
    return Phantom(
        modality="SM",
        pixels=np.clip(np.rint(light), 0, 255).astype(np.uint8),
        mask=mask,
        label=int(bool(lesions)),
        spacing=(PIXEL_MM, PIXEL_MM),
        lesions=lesions,
        distractors=names + spoilt,
    )


def _pieces(mask: Mask) -> list[Mask]:
    """The mask's separate nests; those within four pixels of each other count as one."""
    coarse = mask.reshape(mask.shape[0] // 4, 4, mask.shape[1] // 4, 4).any(axis=(1, 3))
    todo = {(int(i), int(j)) for i, j in np.argwhere(coarse)}
    pieces = []
    while todo:
        label, front = np.zeros_like(coarse), [todo.pop()]
        while front:
            i, j = front.pop()
            label[i, j] = True
            near = {(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)} & todo
            todo -= near
            front.extend(near)
        pieces.append(mask & label.repeat(4, axis=0).repeat(4, axis=1))
    return pieces


def _without_specks(where: Field) -> Field:
    """The field without islands too small for a nest."""
    for piece in _pieces(where > 0):
        if piece.sum() < SMALLEST_NEST:
            where = np.where(piece, np.float32(-50), where)
    return where
