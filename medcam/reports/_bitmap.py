"""A drawing as pixels, for objects that must carry one: source pixels are copied or repeated, never blended."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.display import Bytes
from medcam.reports._drawing import Box, Drawing, Image, Line, Text
from medcam.reports._typefaces import wide_file


def render(drawing: Drawing) -> Bytes:
    """The drawing as RGB (H, W, 3), one pixel per unit; lines must run along rows or columns."""
    canvas = np.empty((round(drawing.height), round(drawing.width), 3), dtype=np.uint8)
    canvas[:] = _rgb(drawing.paper)
    for mark in drawing.marks:
        if isinstance(mark, Image):
            _paste(canvas, mark)
        elif isinstance(mark, Box):
            left, top, right, bottom = mark.x, mark.y, mark.x + mark.width, mark.y + mark.height
            corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
            _stroke(canvas, Line(corners, mark.colour, mark.line))
        elif isinstance(mark, Line):
            _stroke(canvas, mark)
        else:
            _write(canvas, mark)
    return canvas


def _paste(canvas: Bytes, image: Image) -> None:
    """The pixels in the size that the drawing gives them."""
    x, y, height, width = round(image.x), round(image.y), round(image.height), round(image.width)
    pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[..., None]
    if pixels.shape[:2] != (height, width):
        rows = (np.arange(height) * pixels.shape[0]) // height
        columns = (np.arange(width) * pixels.shape[1]) // width
        pixels = pixels[rows][:, columns]
    canvas[y : y + height, x : x + width] = pixels


def _stroke(canvas: Bytes, line: Line) -> None:
    """Straight pieces, as wide as the line says; the canvas cuts off what lies outside."""
    wide = max(1, round(line.line))
    for (x0, y0), (x1, y1) in zip(line.points, line.points[1:], strict=False):
        left, right = sorted((round(x0), round(x1)))
        top, bottom = sorted((round(y0), round(y1)))
        canvas[max(top, 0) : bottom + wide, max(left, 0) : right + wide] = _rgb(line.colour)


def _write(canvas: Bytes, text: Text) -> None:
    ink, rise = _ink(text.words, round(text.size))
    height, width = ink.shape
    left = round(text.x - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor])
    top = round(text.y) - rise
    x, y = max(left, 0), max(top, 0)
    part = canvas[y : top + height, x : left + width]
    share = ink[y - top :, x - left :][: part.shape[0], : part.shape[1], None]
    part[:] = np.rint(part * (1 - share) + np.asarray(_rgb(text.colour)) * share)


@functools.lru_cache(maxsize=256)
def _ink(words: str, size: int) -> tuple[npt.NDArray[np.float32], int]:
    """How dark each pixel (H, W) of the words is, in [0, 1], and how many rows lie above the baseline."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    face = _face(size)
    left, top, right, bottom = (int(edge) for edge in face.getbbox(words, anchor="ls"))
    strip = Pillow.new("L", (max(right - min(left, 0), 1), max(bottom - top, 1)))
    ImageDraw.Draw(strip).text((-min(left, 0), -top), words, 255, face, anchor="ls")
    return np.asarray(strip, dtype=np.float32) / np.float32(255), -top


@functools.lru_cache(maxsize=32)
def _face(size: int) -> Any:
    from PIL import ImageFont

    path = wide_file()
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)


def _rgb(colour: str) -> tuple[int, int, int]:
    """The channels of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
