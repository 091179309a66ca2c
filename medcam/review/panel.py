"""A picture in its frame: side letters, scale bar and a line of text around it, never on it."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.display import colour_bar

Bytes = npt.NDArray[np.uint8]

MARGIN = 30
STRIP = 58
"""Pixels around the picture, and of the line below it."""
LEAST_WIDTH = 420
"""Of the line, in pixels: a narrower picture stands in the middle above it."""

_LETTER, _WORDS = 22, 17
"""Sizes of type: panels are often shown at two thirds of their size."""
_TEXT, _QUIET = (225, 225, 225), (150, 150, 150)


def scale_bar(mm_per_pixel: float, width: int) -> tuple[int, str]:
    """Length in pixels and the words of the longest round bar that takes at most a quarter of `width`."""
    longest = mm_per_pixel * width / 4
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
    if length >= 10:
        words = f"{length / 10:g} cm"
    elif length >= 0.1:
        words = f"{length:g} mm"
    else:
        words = f"{length * 1000:g} um"  # the typeface has no Greek letter; UCUM writes it so
    return round(length / mm_per_pixel), words


def framed(
    picture: Bytes,
    sides: tuple[str, str, str, str],
    mm_per_pixel: float | None,
    where: str = "",
    strip: Bytes | None = None,
) -> Bytes:
    """The picture (h, w) or (h, w, 3) in a black frame: RGB (h + 2 MARGIN + STRIP, W + 2 MARGIN, 3).

    Args:
        picture: kept pixel by pixel, from row MARGIN on, in the middle.
        sides: letters at the (left, right, top, bottom) edge; "" where unknown.
        mm_per_pixel: of the picture; None draws "no scale".
        where: what the scale refers to if not to the patient, e.g. "at the detector".
        strip: RGB (STRIP, W, 3) shown below, W at least the picture's width w; without it, W = w.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    across = width if strip is None else strip.shape[1]
    left, bottom = MARGIN + (across - width) // 2, MARGIN + height
    canvas = np.zeros((bottom + MARGIN + STRIP, across + 2 * MARGIN, 3), np.uint8)
    canvas[MARGIN:bottom, left : left + width] = picture if picture.ndim == 3 else picture[..., None]
    if strip is not None:
        canvas[-STRIP:, MARGIN : MARGIN + across] = strip
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    half, row, column = MARGIN // 2, MARGIN + height / 2, left + width / 2
    places = ((left - half, row), (left + width + half, row), (column, half), (column, bottom + half))
    for letter, place in zip(sides, places, strict=True):
        draw.text(place, letter, _TEXT, font(_LETTER), anchor="mm")
    if mm_per_pixel is None:
        draw.text((left, bottom + half), "no scale", _QUIET, font(_WORDS), anchor="lm")
    else:
        length, words = scale_bar(mm_per_pixel, width)
        high, low = bottom + half - 3, bottom + half + 4
        for box in ((0, high, length, high + 1), (0, high, 1, low), (length - 1, high, length, low)):
            draw.rectangle((left + box[0], box[1], left + box[2], box[3]), _TEXT)
        draw.text((left + length + 10, bottom + half), f"{words} {where}".strip(), _TEXT, font(_WORDS), anchor="lm")
    return np.asarray(image)


def text_strip(width: int, words: str) -> Bytes:
    """One line of quiet text: RGB (STRIP, width, 3)."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, STRIP))
    ImageDraw.Draw(image).text((0, 16), words, _QUIET, font(_WORDS), anchor="lm")
    return np.asarray(image)


def value_at(share: float, display_range: tuple[float, float]) -> float:
    """The evidence value shown as `share` of the display range: the inverse of `medcam.display.strength`."""
    low, high = display_range
    return low + share * (high - low) if low >= 0 else share * max(-low, high)


def evidence_strip(width: int, display_range: tuple[float, float], least: float, unit: str) -> Bytes:
    """The colour bar with its values: RGB (STRIP, width, 3).

    Args:
        width: of the picture above it, in pixels.
        display_range: evidence values of no colour and full colour; below zero there is evidence against, in blue.
        least: share of the range below which nothing is painted.
        unit: of the evidence.
    """
    from PIL import Image, ImageDraw

    low, high = display_range
    image = Image.new("RGB", (width, STRIP))
    draw = ImageDraw.Draw(image)
    if high <= low:
        draw.text((0, 16), "no evidence: nothing is painted", _TEXT, font(_WORDS), anchor="lm")
        return np.asarray(image)
    signed = low < 0
    bar: Any = np.rot90(colour_bar(width, 14, least, signed), -1)  # strongest on the right
    image.paste(Image.fromarray(np.ascontiguousarray(bar)), (0, 5))
    mark = width * ((least + 1) / 2 if signed else least)
    draw.line([(mark, 2), (mark, 21)], (255, 255, 255))
    ends = f"{value_at(-1 if signed else 0, display_range):.3g}", f"{value_at(1, display_range):.3g} {unit}"
    words = f"painted from {'±' if signed else ''}{value_at(least, display_range):.3g}"
    first, last, room = (font(_WORDS).getlength(text) for text in (*ends, words))
    draw.text((0, 38), ends[0], _TEXT, font(_WORDS), anchor="lm")
    draw.text((width, 38), ends[1], _TEXT, font(_WORDS), anchor="rm")
    centre = min(max(mark, first + 16 + room / 2), width - last - 16 - room / 2)
    draw.text((centre, 38), words, _TEXT, font(_WORDS), anchor="mm")
    return np.asarray(image)


@functools.cache
def font(size: int) -> Any:
    """The typeface that comes with Pillow."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
