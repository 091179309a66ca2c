"""A drawing as pixels, for objects that must carry one: source pixels are copied or repeated, never blended."""

import functools
from typing import Any

import numpy as np

from medcam.display import Bytes
from medcam.reports._drawing import Box, Drawing, Image, Line, Mark
from medcam.reports._typefaces import wide_file


def render(drawing: Drawing) -> Bytes:
    """The drawing as RGB (H, W, 3), one pixel per unit."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    canvas = Pillow.new("RGB", (round(drawing.width), round(drawing.height)), drawing.paper)
    pen = ImageDraw.Draw(canvas)
    for mark in drawing.marks:
        if isinstance(mark, Image):
            canvas.paste(Pillow.fromarray(_fitted(mark)), (round(mark.x), round(mark.y)))
        else:
            _draw(pen, mark)
    return np.asarray(canvas)


def _fitted(image: Image) -> Bytes:
    """The pixels in the size that the drawing gives them."""
    height, width = round(image.height), round(image.width)
    pixels = image.pixels
    down, across = max(height // pixels.shape[0], 1), max(width // pixels.shape[1], 1)
    if (pixels.shape[0] * down, pixels.shape[1] * across) == (height, width):
        return pixels.repeat(down, axis=0).repeat(across, axis=1) if down * across > 1 else pixels
    rows = (np.arange(height) * pixels.shape[0]) // height
    columns = (np.arange(width) * pixels.shape[1]) // width
    nearest: Bytes = pixels[rows][:, columns]
    return nearest


@functools.lru_cache(maxsize=32)
def _face(size: int) -> Any:
    from PIL import ImageFont

    path = wide_file()
    return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)


def _draw(pen: Any, mark: Mark) -> None:
    if isinstance(mark, Box):
        corners = (round(mark.x), round(mark.y), round(mark.x + mark.width) - 1, round(mark.y + mark.height) - 1)
        width = max(1, round(mark.line))
        pen.rectangle(corners, fill=mark.colour if mark.filled else None, outline=mark.colour, width=width)
    elif isinstance(mark, Line):
        pen.line([(round(x), round(y)) for x, y in mark.points], fill=mark.colour, width=max(1, round(mark.line)))
    elif not isinstance(mark, Image):
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
        pen.text((mark.x, mark.y), mark.words, mark.colour, _face(round(mark.size)), anchor=anchor)
