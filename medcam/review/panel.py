"""A picture in its frame: side letters, scale bar and a line of text around it, never on it."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.display import colour_bar

Bytes = npt.NDArray[np.uint8]

MARGIN = 26
STRIP = 48
"""Pixels around the picture, and of the line below it."""

_TEXT, _QUIET = (225, 225, 225), (150, 150, 150)


def scale_bar(mm_per_pixel: float, width: int) -> tuple[int, str]:
    """Length in pixels and the words of the longest round bar that takes at most a quarter of `width`."""
    longest = mm_per_pixel * width / 4
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9))
    if length >= 10:
        words = f"{length / 10:g} cm"
    elif length >= 1:
        words = f"{length:g} mm"
    else:
        words = f"{length * 1000:g} µm"
    return round(length / mm_per_pixel), words


def framed(
    picture: Bytes,
    sides: tuple[str, str, str, str],
    mm_per_pixel: float | None,
    where: str = "",
    strip: Bytes | None = None,
) -> Bytes:
    """The picture (h, w) or (h, w, 3) in a black frame: RGB (h + 2 MARGIN + STRIP, w + 2 MARGIN, 3).

    Args:
        picture: kept pixel by pixel, from row and column MARGIN on.
        sides: letters at the (left, right, top, bottom) edge; "" where unknown.
        mm_per_pixel: of the picture; None draws "no scale".
        where: what the scale refers to if not to the patient, e.g. "at the detector".
        strip: RGB (STRIP, w, 3) shown below.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    canvas = np.zeros((height + 2 * MARGIN + STRIP, width + 2 * MARGIN, 3), np.uint8)
    canvas[MARGIN : MARGIN + height, MARGIN : MARGIN + width] = picture if picture.ndim == 3 else picture[..., None]
    if strip is not None:
        canvas[-STRIP:, MARGIN : MARGIN + width] = strip
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    middle, half = MARGIN // 2, (MARGIN + height / 2, MARGIN + width / 2)
    places = (
        (middle, half[0]),
        (width + MARGIN + middle, half[0]),
        (half[1], middle),
        (half[1], height + MARGIN + middle),
    )
    for letter, place in zip(sides, places, strict=True):
        draw.text(place, letter, _TEXT, font(17), anchor="mm")
    base = height + MARGIN + middle
    if mm_per_pixel is None:
        draw.text((MARGIN, base), "no scale", _QUIET, font(13), anchor="lm")
    else:
        length, words = scale_bar(mm_per_pixel, width)
        draw.line(
            [(MARGIN, base + 3), (MARGIN, base - 3), (MARGIN + length, base - 3), (MARGIN + length, base + 3)], _TEXT
        )
        draw.text((MARGIN + length + 8, base), f"{words} {where}".strip(), _TEXT, font(13), anchor="lm")
    return np.asarray(image)


def text_strip(width: int, words: str) -> Bytes:
    """One line of quiet text: RGB (STRIP, width, 3)."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, STRIP))
    ImageDraw.Draw(image).text((0, 12), words, _QUIET, font(14), anchor="lm")
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
        draw.text((0, 12), "no evidence: nothing is painted", _TEXT, font(14), anchor="lm")
        return np.asarray(image)
    signed = low < 0
    bar: Any = np.rot90(colour_bar(width, 12, least, signed), -1)  # strongest on the right
    image.paste(Image.fromarray(np.ascontiguousarray(bar)), (0, 4))
    mark = width * ((least + 1) / 2 if signed else least)
    draw.line([(mark, 2), (mark, 18)], (255, 255, 255))
    draw.text((0, 32), f"{value_at(-1 if signed else 0, display_range):.2f}", _TEXT, font(13), anchor="lm")
    draw.text((width, 32), f"{value_at(1, display_range):.2f} {unit}", _TEXT, font(13), anchor="rm")
    words = f"painted from {'±' if signed else ''}{value_at(least, display_range):.2f}"
    room = font(13).getlength(words) / 2
    draw.text((min(max(mark, room + 50), width - room - 100), 32), words, _TEXT, font(13), anchor="mm")
    return np.asarray(image)


@functools.cache
def font(size: int) -> Any:
    """The typeface that comes with Pillow."""
    from PIL import ImageFont

    return ImageFont.load_default(size)
