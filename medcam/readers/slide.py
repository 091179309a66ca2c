"""Whole slides (svs, ndpi, scn, bif, pyramid TIFF, DICOM), read by OpenSlide as tiles of tissue with true mm."""

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.errors import BudgetError, InputError
from medcam.grid import Grid
from medcam.readers import _budget, _tiff, _tissue
from medcam.readers.base import Header, Reader
from medcam.study import Identifiers, Pixels, Series, SeriesRecord, SourceFile

TILE = 256
TARGET_MM = 0.0005
"""Distance between pixels that tiles are read at, as nearly as whole numbers of stored pixels allow."""

COARSEST_MM = 0.00101
"""If the tissue does not fit otherwise; beyond, cells are no longer to be seen and the slide is refused."""

MOST_TILES = 1000
OVERVIEW = 2048
"""Longest side of the overview, pixels."""

STRIP = 2048


class Slide(Reader):
    """One slide per file, or per DICOM series (those come from the DICOM reader's headers)."""

    name = "slide"
    suffixes = _tiff.SLIDE_SUFFIXES

    def recognises(self, path: Path, head: bytes) -> bool:
        return (_tiff.is_tiff(head) or not head) and _tiff.is_slide(path)

    def header(self, path: Path) -> Header:
        status = path.stat()
        with _opened([path]) as slide:
            columns, rows = slide.dimensions
            facts = {
                "shape": [rows, columns],
                "um": [_number(slide.properties.get(f"openslide.mpp-{axis}")) for axis in "yx"],
                "vendor": slide.properties.get("openslide.vendor", ""),
            }
        return Header(str(path), status.st_size, status.st_mtime_ns, self.name, facts)

    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        return [_series(header) for header in headers]

    def pixels(self, series: Series) -> Pixels:
        """Tiles (N, h, w, 3) that hold tissue; `grid` is of the whole slide at the tiles' resolution."""
        with _opened([Path(file.path) for file in series.files]) as slide:
            _check(slide, series)
            mask = _tissue.stained(_overview(slide))
            view, origins = _choose(slide, series.grid, mask)
            shape = view.grid.shape
            tile = (min(TILE, shape[0]), min(TILE, shape[1]))
            _budget.require((len(origins), *tile, 3), 1)
            profile = "openslide.icc-size" in slide.properties
            array = np.empty((len(origins), *tile, 3), dtype=np.uint8)
            for number, (row, column) in enumerate(origins):
                array[number] = view.read(slide, row, column, tile)
        everything = math.ceil(shape[0] / tile[0]) * math.ceil(shape[1] / tile[1])
        um = " x ".join(f"{step * 1000:.3f}" for step in view.grid.spacing)
        steps = [
            f"{len(origins)} of {everything} tiles read; the others hold less than {_tissue.LEAST_TISSUE:.0%} tissue",
            f"pixels of {um} um: level {view.level} reduced by {view.reduce}",
            *(["colour profile not applied"] if profile else []),
        ]
        return Pixels(array, view.grid, True, "RGB", steps=tuple(steps), origins=tuple(origins))

    def overview(self, series: Series) -> Pixels:
        """The whole slide (H, W, 3), at most 2,048 pixels along a side, with its grid."""
        with _opened([Path(file.path) for file in series.files]) as slide:
            _check(slide, series)
            picture = _overview(slide)
        return Pixels(picture, series.grid.resized(picture.shape[:2]), True, "RGB", steps=("overview of the slide",))


@dataclass(frozen=True)
class _View:
    """The slide at one resolution: `level` of the pyramid, averaged over `reduce` x `reduce` pixels."""

    level: int
    reduce: int
    grid: Grid

    def read(self, slide: Any, row: int, column: int, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """RGB (*shape, 3) from pixel (row, column) of the view."""
        factor = self.reduce * slide.level_downsamples[self.level]
        at = (round(column * factor), round(row * factor))
        stored = slide.read_region(at, self.level, (shape[1] * self.reduce, shape[0] * self.reduce))
        return np.asarray(_on_glass(stored).reduce(self.reduce), dtype=np.uint8)


def _views(slide: Any, full: Grid) -> Iterator[_View]:
    """From the resolution nearest to the target to coarser ones."""
    finest = math.sqrt(math.prod(full.spacing))
    tried: set[tuple[int, int]] = set()
    factor = max(1, round(TARGET_MM / finest))
    while not tried or finest * factor <= COARSEST_MM:
        level = slide.get_best_level_for_downsample(factor + 0.01)
        reduce = max(1, round(factor / slide.level_downsamples[level]))
        step = reduce * slide.level_downsamples[level]
        if (level, reduce) not in tried:
            columns, rows = slide.level_dimensions[level]
            shape = (max(1, rows // reduce), max(1, columns // reduce))
            yield _View(level, reduce, full.rescaled(shape, step, (step - 1) / 2))
        tried.add((level, reduce))
        factor += 1


def _choose(slide: Any, full: Grid, mask: npt.NDArray[np.bool_]) -> tuple[_View, list[tuple[int, int]]]:
    for view in _views(slide, full):
        rows, columns = view.grid.shape
        origins = _tissue.holding_tissue(mask, (rows, columns), (min(TILE, rows), min(TILE, columns)))
        if not origins:
            raise InputError("empty", "no tissue was found on the slide")
        if len(origins) <= MOST_TILES:
            return view, origins
    raise BudgetError("too-large", f"{len(origins)} tiles of tissue, {MOST_TILES} are allowed; cut out a region first")


def _check(slide: Any, series: Series) -> None:
    if not series.grid.mm_known:
        raise InputError("no-geometry", "the slide does not say how large its pixels are")
    if slide.dimensions != series.grid.shape[::-1]:
        raise InputError("mixed-geometry", "OpenSlide sees another size than the header says")


def _overview(slide: Any) -> npt.NDArray[np.uint8]:
    """RGB of the whole slide, read strip by strip so that no level is ever in memory at once."""
    import PIL.Image

    columns, rows = slide.dimensions
    level = slide.get_best_level_for_downsample(max(1.0, max(columns, rows) / OVERVIEW))
    width, height = slide.level_dimensions[level]
    step = slide.level_downsamples[level]
    reduce = max(1, math.ceil(max(width, height) / OVERVIEW))
    side = STRIP // reduce * reduce
    whole = PIL.Image.new("RGB", (math.ceil(width / reduce), math.ceil(height / reduce)), "white")
    for top in range(0, height, side):
        for left in range(0, width, side):
            size = (min(side, width - left), min(side, height - top))
            part = slide.read_region((round(left * step), round(top * step)), level, size)
            whole.paste(_on_glass(part).reduce(reduce), (left // reduce, top // reduce))
    return np.asarray(whole)


def _on_glass(picture: Any) -> Any:
    """RGB of an RGBA picture: what no tile of the file covers is white, like empty glass."""
    import PIL.Image

    glass = PIL.Image.new("RGBA", picture.size, "white")
    return PIL.Image.alpha_composite(glass, picture).convert("RGB")


@contextlib.contextmanager
def _opened(paths: Sequence[Path]) -> Iterator[Any]:
    """The slide of which `paths` are the parts; OpenSlide's complaints become reasons."""
    import openslide

    with contextlib.ExitStack() as stack:
        path = paths[0]
        if not _tiff.is_slide(path):  # DICOM: OpenSlide looks for the other levels in the folder, among all files
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            with contextlib.suppress(OSError):  # a system without links: the folder itself has to do
                for number, part in enumerate(paths):
                    (folder / f"{number}.dcm").symlink_to(part.absolute())
                path = folder / "0.dcm"
        try:
            slide = stack.enter_context(openslide.OpenSlide(os.fspath(path)))
            slide.set_cache(openslide.OpenSlideCache(64 << 20))
            yield slide
        except openslide.OpenSlideUnsupportedFormatError:
            raise InputError("malformed", "OpenSlide knows no such slide") from None
        except openslide.OpenSlideError as error:
            known = "ransfer syntax" in str(error)
            detail = "OpenSlide cannot decode it" if known else "OpenSlide could not read it"
            raise InputError("transfer-syntax" if known else "decode-failed", detail) from None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _series(header: Header) -> SeriesRecord:
    facts = header.facts
    shape, um = tuple(facts["shape"]), facts["um"]
    known = None not in um
    spacing = (um[0] / 1000, um[1] / 1000) if known else (1.0, 1.0)
    series = Series(
        reader=Slide.name,
        kind="slide",
        modality="SM",
        files=(SourceFile(header.path, header.size_bytes, header.mtime_ns),),
        frames=((0, 0),),
        grid=Grid.plane(shape, spacing, mm_known=known),
        colour=True,
        facts={"Modality": "SM"},
        identifiers=Identifiers(),
    )
    description = f"slide ({facts['vendor']}) {shape[1]} x {shape[0]}"
    return SeriesRecord("used", description, (header.path,), "SM", series.facts, series=series)
