"""Composition: original beside overlay at the same window, with colour bar, scale bar, side letters and region boxes.

Nothing is drawn on the original, and nothing but boxes on the overlay: letters and scales stand in the margins.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcam.display import Bytes, colour_bar, evidence_plane, overlay
from medcam.errors import ResultsError
from medcam.findings import CAPTION, PROJECTIONS, Case, KeyImage, Region
from medcam.grid import Grid
from medcam.reports._drawing import Box, Drawing, Image, Line, Mark, Text
from medcam.reports._picture_words import LEAST, evidence_value, is_empty, plane_words, window_words

BOX, CASING = "#19e3ff", "#10202c"
"""Light on dark, so that an outline is seen on any tissue."""


@dataclass(frozen=True)
class Style:
    """How large and in which colours: width of one panel and size of letters, in drawing units."""

    panel: float
    text: float
    paper: str = "#ffffff"
    ink: str = "#1d2733"
    faint: str = "#5b6875"
    pixels: int | None = 700
    """Planes wider than this are shrunk; None keeps every source pixel."""
    tallest: float = math.inf
    """Panels that would become taller are made narrower."""


DISPLAY = Style(panel=430, text=14, tallest=520)
"""For web pages and PDF."""


def read_plane(path: Path) -> Bytes:
    """A key image (H, W) or (H, W, 3) in 8 bits.

    Raises:
        ResultsError: it is missing or damaged.
    """
    from PIL import Image as Pillow

    try:
        with Pillow.open(path) as picture:
            plane: Bytes = np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
    except OSError as error:
        message = f"A picture of the case {path.parent.name!r} cannot be read; delete its folder and screen again."
        raise ResultsError("case-damaged", message) from error
    return plane


def painted(case: Case, index: int | None, base: Bytes, grid: Grid) -> Bytes:
    """The overlay (H, W, 3) of plane `index` of `grid` on the base of the same size."""
    return overlay(base, evidence_plane(case, index, grid), case.explanation.display_range, least=LEAST)


def figure(
    case: Case,
    picture: KeyImage,
    plane: Bytes,
    style: Style,
    above: Sequence[str] = (),
    below: Sequence[str] = (),
) -> Drawing:
    """Original and overlay of one key image, side by side, between lines of words above and below."""
    grid = picture.grid or case.grid
    base, small = _shrunk(plane, grid, style.pixels)
    row_mm, column_mm = grid.spacing[-2:]
    height, width = plane.shape[:2]
    panel = min(style.panel, style.tallest * (width * column_mm) / (height * row_mm))
    tall = panel * height / width * (row_mm / column_mm if style.pixels else 1)
    text, sides = style.text, grid.sides()
    edge = text * (1.6 if any(sides[:2]) else 0.4)
    lip = text * (1.5 if any(sides[2:]) else 0.4)
    head = len(above) * text * 1.5
    top = round(head + text * 1.9 + lip)
    left, right = round(edge), round(edge + panel + 2 * edge + text * 0.6)
    marks: list[Mark] = [
        Image(left, top, panel, tall, base),
        Image(right, top, panel, tall, painted(case, picture.index, base, small)),
        Text(left, head + text * 1.2, text, f"Original, {window_words(case, picture)}", style.ink),
        Text(right, head + text * 1.2, text, f"Evidence for {case.finding}", style.ink),
    ]
    marks += [Text(left, text * (1.2 + 1.5 * row), text, line, style.ink) for row, line in enumerate(above)]
    for x in (left, right):
        marks += _letters(sides, x, top, panel, tall, style)
        marks += _scale_bar(case, grid, x, top + tall + lip, panel, width, style)
    marks += _boxes(case, picture, right, top, panel / width, tall / height, style)
    bar = right + panel + edge + text * 0.6
    marks += _bar(case, bar, top, tall, style)
    foot = top + tall + lip + text * 2.2
    marks += [Text(left, foot + text * (1 + 1.5 * row), text, line, style.ink) for row, line in enumerate(below)]
    return Drawing(
        bar + text * 5.2,
        foot + len(below) * text * 1.5,
        style.paper,
        tuple(marks),
        f"{plane_words(case, picture)}: the original and, beside it, the same plane with the evidence for "
        f"{case.finding} in colour. {CAPTION}",
    )


def _shrunk(plane: Bytes, grid: Grid, pixels: int | None) -> tuple[Bytes, Grid]:
    """The plane at most `pixels` wide, and its grid."""
    height, width = plane.shape[:2]
    if pixels is None or width <= pixels:
        return plane, grid
    from PIL import Image as Pillow

    size = max(1, round(height * pixels / width)), pixels
    reduced = Pillow.fromarray(plane).resize(size[::-1], Pillow.Resampling.BOX)
    return np.asarray(reduced), grid.resized((*grid.shape[:-2], *size))


def _letters(
    sides: tuple[str, str, str, str], x: float, y: float, width: float, height: float, style: Style
) -> list[Mark]:
    gap, size = style.text * 0.45, style.text * 1.1
    middle = y + height / 2 + size * 0.35
    places = (
        (x - gap, middle, "end"),
        (x + width + gap, middle, "start"),
        (x + width / 2, y - gap, "middle"),
        (x + width / 2, y + height + gap + size * 0.75, "middle"),
    )
    return [
        Text(at_x, at_y, size, letter, style.ink, anchor)  # type: ignore[arg-type]  # the three anchors above
        for letter, (at_x, at_y, anchor) in zip(sides, places, strict=True)
        if letter
    ]


def _scale_bar(case: Case, grid: Grid, x: float, y: float, panel: float, columns: int, style: Style) -> list[Mark]:
    """A bar of a round length below the panel: millimetres where they are known, else pixels."""
    per_column = grid.spacing[-1] if grid.mm_known else 1.0
    length = _round_length(columns * per_column / 4)
    if grid.mm_known:
        words = f"{length * 1000:g} µm" if length < 0.5 else f"{length:g} mm"
        words += " at the detector" if case.modality in PROJECTIONS else ""
    else:
        words = f"{length:g} pixels (millimetres not known)"
    reach = x + length / per_column * panel / columns
    base, tick = y + style.text * 0.9, style.text * 0.35
    ends = ((x, base - tick), (x, base), (reach, base), (reach, base - tick))
    line = style.text * 0.12
    return [
        Line(ends, style.ink, line),
        Text(reach + style.text * 0.5, base + style.text * 0.1, style.text * 0.9, words, style.faint),
    ]


def _round_length(longest: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest * (1 + 1e-9))


def _boxes(case: Case, picture: KeyImage, x: float, y: float, across: float, down: float, style: Style) -> list[Mark]:
    """Outlines of the regions that cut this plane, numbered as in the table."""
    marks: list[Mark] = []
    for number, region in enumerate(case.regions, start=1):
        if picture.index is not None and not region.start[0] <= picture.index < region.stop[0]:
            continue
        top, left, bottom, right = box_on(case, picture, region)
        corner_x, corner_y = x + left * across, y + top * down
        line = max(style.text * 0.1, 1.0)
        wide, tall = (right - left) * across, (bottom - top) * down
        marks += [
            Box(corner_x, corner_y, wide, tall, colour, thick) for colour, thick in ((CASING, 2.6 * line), (BOX, line))
        ]
        above = corner_y - style.text * 0.25
        if above - style.text < y:
            above = y + bottom * down + style.text * 0.95
        for shift, colour in ((line, CASING), (0.0, BOX)):
            marks.append(Text(corner_x + shift, above + shift, style.text * 0.95, str(number), colour))
    return marks


def box_on(case: Case, picture: KeyImage, region: Region) -> tuple[float, float, float, float]:
    """A region's (top, left, bottom, right) edges in pixels of a key image, counted from its upper left corner."""
    start, stop = np.asarray(region.start[-2:], float), np.asarray(region.stop[-2:], float)
    if picture.grid is not None:  # the picture is another sampling of the source plane
        start, stop = picture.grid.index(case.grid.position(np.stack([start - 0.5, stop - 0.5]))) + 0.5
    return float(start[0]), float(start[1]), float(stop[0]), float(stop[1])


def _bar(case: Case, x: float, y: float, height: float, style: Style) -> list[Mark]:
    """The colour bar with evidence values; words instead where there is no evidence to show."""
    explanation, text = case.explanation, style.text
    if is_empty(case):
        return [Text(x, y + text, text * 0.9, "no evidence", style.faint)]
    tall, wide = min(height, 22 * text), text * 1.1
    both = explanation.display_range[0] < 0
    bar = colour_bar(256, 8, LEAST, both)
    marks: list[Mark] = [Image(x, y, wide, tall, bar), Text(x, y - text * 0.5, text * 0.9, explanation.unit, style.ink)]
    bottom = -1.0 if both else 0.0
    ticks = [1.0, LEAST, *((-LEAST, -1.0) if both else (0.0,))]
    for share in ticks:
        at = y + tall * (1 - share) / (1 - bottom)
        marks.append(Line(((x + wide, at), (x + wide + text * 0.3, at)), style.ink, text * 0.09))
        value = f"{evidence_value(share, explanation.display_range):.3g}"
        marks.append(Text(x + wide + text * 0.45, at + text * 0.3, text * 0.9, value, style.ink))
    return marks
