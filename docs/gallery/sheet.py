"""What the gallery's scripts share: a phantom with the demonstration model that reads it, and a sheet of panels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from medcam.data.phantoms import generator, sample
from medcam.display import overlay, to_bytes
from medcam.errors import ExplainError
from medcam.explainers import SHELF, Explained, explain
from medcam.explainers.base import Family, Method
from medcam.grid import Grid, resample
from medcam.models import load_bundle
from medcam.plugins import locate

SIDE, GAP, TITLE = 256, 8, 22
"""Pixels of a panel, between panels, and of the line above each."""
PAPER, INK, FAINT = (16, 20, 24), (230, 230, 230), (110, 115, 120)
OUTLINE = (90, 220, 120)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """An image with its truth, and a model that was made for it."""

    model: nn.Module
    x: Tensor
    """(1, C, *space)."""
    grid: Grid
    mask: npt.NDArray[np.bool_]
    """(*space): the lesion."""
    layer: str
    target: int
    shown: int | None = None
    """Pixels of the square around the lesion that is shown; the whole image by default."""

    def explained(self, method: str | Method) -> Explained:
        """Its map by one method."""
        return explain(self.model, self.x, method, self.target, self.layer, grid=self.grid)


def phantom(pipeline: str, seed: int, shown: int | None = None) -> Subject:
    """A sick phantom patient and the demonstration bundle of its pipeline."""
    bundle = load_bundle(locate("sample_data") / "bundles" / pipeline)
    card = bundle.card
    taken = sample(generator(pipeline).phantom(seed, True), card.transform, card.transform_options)
    return Subject(
        bundle.model, taken.prepared.tensor, taken.prepared.grids[0], taken.mask, card.layer or "auto", 1, shown
    )


def family_sheet(
    family: Iterable[Family], subject: Subject, path: Path, settings: dict[str, dict[str, Any]] | None = None
) -> list[str]:
    """One panel for each method of some families, after the image with its lesion outlined; the methods' names.

    Args:
        settings: of methods that are to be asked otherwise than by default.
    """
    wanted = set(family)
    names = [name for name in SHELF.names() if SHELF.load(name).family in wanted]
    view = _view(subject)
    panels = [("phantom, lesion outlined", _outlined(_base(subject, view), subject.mask[view]))]
    for name in names:
        try:
            found = subject.explained(SHELF.load(name)(**(settings or {}).get(name, {})))
            panels.append((f"{name} [{found.unit}]", _painted(subject, found, view)))
        except ExplainError as error:  # a method that does not fit this head or network
            panels.append((f"{name}: {error.code}", _base(subject, view) // 3))
    write_sheet(panels, path)
    return names


def write_sheet(panels: Sequence[tuple[str, Bytes]], path: Path, columns: int = 4) -> None:
    """Panels (H, W, 3) with their titles, row by row, as a PNG."""
    height, width = SIDE + TITLE + GAP, SIDE + GAP
    rows = -(-len(panels) // columns)
    page = Image.new("RGB", (min(columns, len(panels)) * width + GAP, rows * height + GAP), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for number, (title, pixels) in enumerate(panels):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        draw.text((left + 2, top + 3), title, fill=FAINT if ": " in title else INK, font=font)
        panel = Image.fromarray(pixels)
        scale = SIDE / max(panel.size)
        panel = panel.resize((round(panel.width * scale), round(panel.height * scale)), Image.Resampling.BICUBIC)
        page.paste(panel, (left + (SIDE - panel.width) // 2, top + TITLE + (SIDE - panel.height) // 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)


View = tuple[int | slice, ...]


def _view(subject: Subject) -> View:
    """What is shown of the image (*space): of a volume or cine the plane with most of the lesion."""
    plane: View = ()
    mask = subject.mask
    if mask.ndim == 3:
        plane = (int(mask.reshape(len(mask), -1).sum(1).argmax()),)
        mask = mask[plane]
    if subject.shown is None:
        return (*plane, slice(None), slice(None))
    centre = [int(places.mean()) for places in np.nonzero(mask)]
    starts = [
        min(max(at - subject.shown // 2, 0), max(size - subject.shown, 0))
        for at, size in zip(centre, mask.shape, strict=True)
    ]
    return (*plane, *(slice(start, start + subject.shown) for start in starts))


def _base(subject: Subject, view: View) -> Bytes:
    grey = to_bytes(subject.x[0, 0].numpy()[view], None)
    return np.repeat(grey[..., None], 3, axis=-1)


def _painted(subject: Subject, found: Explained, view: View) -> Bytes:
    record = found.sample(0, 0)
    evidence = resample(record.evidence, record.grid, record.input_grid)
    return overlay(_base(subject, view), evidence[view], record.display_range)


def _outlined(base: Bytes, mask: npt.NDArray[np.bool_]) -> Bytes:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    drawn = base.copy()
    drawn[mask & ~inner] = OUTLINE
    return drawn
