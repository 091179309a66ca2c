"""What a reader sees of a case: each plane at display size, untouched and with the evidence on it, as JPEG bytes.

Planes come from the source (decoded again, or the copy in the results folder); where it is gone, from the key images.
A picture is a display copy: reduced or enlarged to fit, compressed, and never more than that.
"""

import functools
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.display import WINDOWS, auto_window, evidence_plane, overlay, to_bytes
from medcam.errors import ResultsError
from medcam.findings import Case, KeyImage
from medcam.grid import Grid
from medcam.results import Results
from medcam.review.panel import LEAST_WIDTH, MARGIN, evidence_strip, framed, text_strip, value_at
from medcam.study import Pixels

Bytes = npt.NDArray[np.uint8]
Window = tuple[float, float] | None

SIZE = 700
"""Pixels of the longer side of a framed picture."""

PROJECTIONS = ("CR", "DX", "MG", "RF", "XA")
"""Modalities whose millimetres hold at the detector, not in the patient."""


@dataclass(frozen=True)
class Plane:
    """One thing that can be shown: a slice, a frame, an image, or a key image."""

    index: int | None
    """On the source's first axis; None for an image or slide."""
    caption: str
    unaided: bool
    """Whether it would be looked at without the AI: a key image that the evidence chose is not."""
    picture: KeyImage | None = None
    """The stored copy, where the source is not shown."""


class Pictures:
    """The pictures of one case.

    Attributes:
        planes: what can be shown, in order.
        windows: centre and width by preset name; empty where the values are fixed (colour, key images).
        note: why only key images are shown; "" where the source is.
    """

    def __init__(self, results: Results, case: Case) -> None:
        self.case = case
        self._folder = results.path(case.key)
        self._pixels: Pixels | None = None
        self.note = ""
        if case.kind != "slide":
            try:
                self._pixels = _opened(results, case)
            except ResultsError as error:
                self.note = f"Only key images: {error}"
        self.planes = tuple(_source_planes(case) if self._pixels else _key_planes(case))
        self.windows = _windows(self._pixels)
        self.original = functools.lru_cache(128)(self._original)
        self.overlay = functools.lru_cache(128)(self._overlay)
        self._base = functools.lru_cache(16)(self._shown)
        self._evidence = functools.lru_cache(16)(self._evidence_shown)

    @property
    def default_window(self) -> str:
        """The preset that the key images were stored at, else the header's window, else automatic; "" if fixed."""
        wanted = self.case.key_images[0].window if self.case.key_images else None
        same = [name for name, window in self.windows.items() if window == wanted]
        return (same or [name for name in ("header", "auto") if name in self.windows] or [""])[0]

    @property
    def peak(self) -> int:
        """Position in `planes` of the strongest evidence."""
        case, axes = self.case, len(self.case.grid.shape)
        if case.regions:
            return self.nearest(case.regions[0].peak[0] if axes == 3 else None)
        evidence = np.abs(case.explanation.evidence)
        if axes == 2 or not evidence.any():
            return self.middle
        cell = np.unravel_index(int(evidence.argmax()), evidence.shape)
        first = case.grid.index(case.explanation.grid.position(cell))[0]
        return self.nearest(int(np.clip(np.rint(first), 0, case.grid.shape[0] - 1)))

    @property
    def middle(self) -> int:
        """Position in `planes` where a reader begins who is not led by the evidence."""
        unaided = [position for position, plane in enumerate(self.planes) if plane.unaided]
        return unaided[len(unaided) // 2] if unaided else 0

    def nearest(self, index: int | None) -> int:
        """Position in `planes` that lies nearest to a source index."""
        if index is None:
            return 0
        return min(range(len(self.planes)), key=lambda position: abs((self.planes[position].index or 0) - index))

    def threshold(self, least: float) -> float:
        """The evidence value, in the explanation's unit, at a share of the display range."""
        return value_at(least, self.case.explanation.display_range)

    def _original(self, position: int, window: str = "") -> bytes:
        """The plane as it is, framed, as JPEG."""
        base = self._base(position, window)
        words = [self.planes[position].caption]
        if window:
            centre, width = self.windows[window]
            words.append(f"window {window} {centre:.0f} / {width:.0f}")
        return self._framed(position, base, text_strip(_across(base), " · ".join(words)))

    def _overlay(self, position: int, window: str = "", opacity: float = 0.5, least: float = 0.25) -> bytes:
        """The plane with the evidence painted where it reaches the share `least` of its display range, as JPEG."""
        base, explanation = self._base(position, window), self.case.explanation
        painted = overlay(base, self._evidence(position), explanation.display_range, opacity=opacity, least=least)
        strip = evidence_strip(_across(base), explanation.display_range, least, explanation.unit)
        return self._framed(position, painted, strip)

    def _framed(self, position: int, picture: Bytes, strip: Bytes) -> bytes:
        grid = self._grid(position)
        scale = grid.spacing[-1] if grid.mm_known else None
        where = "at the detector" if self.case.modality in PROJECTIONS else ""
        return _jpeg(framed(picture, grid.sides(), scale, where, strip))

    def _grid(self, position: int) -> Grid:
        """Of the shown picture: the whole field of view in display pixels, which are square."""
        picture = self.planes[position].picture
        grid = (picture.grid if picture else None) or self.case.grid
        rows, columns = (size * step for size, step in zip(grid.shape[-2:], grid.spacing[-2:], strict=True))
        scale = (SIZE - 2 * MARGIN) / max(rows, columns)
        return grid.resized((*grid.shape[:-2], max(1, round(rows * scale)), max(1, round(columns * scale))))

    def _shown(self, position: int, window: str) -> Bytes:
        """The plane in 8 bits at display size: (h, w) or (h, w, 3)."""
        from PIL import Image

        plane = self.planes[position]
        if plane.picture is not None:
            with Image.open(self._folder / plane.picture.file) as stored:
                image = stored.convert("L" if stored.mode in ("L", "1", "I;16") else "RGB")
        else:
            assert self._pixels is not None
            image = Image.fromarray(to_bytes(self._pixels.plane(plane.index), self.windows.get(window)))
        height, width = self._grid(position).shape[-2:]
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))

    def _evidence_shown(self, position: int) -> npt.NDArray[Any]:
        """The evidence (h, w) at display size, from its own cells in one step."""
        return evidence_plane(self.case, self.planes[position].index, self._grid(position))


def _opened(results: Results, case: Case) -> Pixels:
    pixels = results.pixels(case.key)
    return pixels


def _source_planes(case: Case) -> list[Plane]:
    if len(case.grid.shape) == 2:
        return [Plane(None, "whole image", unaided=True)]
    count, times = case.grid.shape[0], case.frame_times_s
    word = "frame" if case.kind == "cine" else "slice"
    seconds = [f", {time:.2f} s" for time in times] if times is not None else [""] * count
    return [Plane(i, f"{word} {i + 1} of {count}{seconds[i]}", unaided=True) for i in range(count)]


def _key_planes(case: Case) -> list[Plane]:
    planes = []
    for picture in sorted(case.key_images, key=lambda picture: picture.index or 0):
        where = f"slice {picture.index + 1}: " if picture.index is not None else ""
        whole = picture.index is None and (picture.grid is None or _covers(picture.grid, case.grid))
        planes.append(Plane(picture.index, where + picture.caption, unaided=whole, picture=picture))
    return planes


def _covers(part: Grid, whole: Grid) -> bool:
    """Whether two grids show the same field of view, to within a cell of the coarser one."""
    edges = [
        np.stack([grid.position((-0.5, -0.5)), grid.position(np.subtract(grid.shape, 0.5))]) for grid in (part, whole)
    ]
    return bool(np.abs(edges[0] - edges[1]).max() <= max(part.spacing))


def _windows(pixels: Pixels | None) -> dict[str, tuple[float, float]]:
    if pixels is None or pixels.colour:
        return {}
    windows = dict(WINDOWS) if pixels.unit == "HU" else {}
    if pixels.window is not None and pixels.unit != "HU":
        windows["header"] = pixels.window
    array = pixels.array if pixels.array.ndim == 2 else pixels.array[:: max(1, len(pixels.array) // 16)]
    windows["auto"] = auto_window(array)  # one for the whole series, so that scrolling does not flicker
    return windows


def _across(picture: Bytes) -> int:
    """Width of the line below a picture."""
    return max(int(picture.shape[1]), LEAST_WIDTH)


def _jpeg(picture: Bytes) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=92, subsampling=0)  # colours keep to their pixels
    return stream.getvalue()
