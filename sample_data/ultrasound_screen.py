"""What an ultrasound machine draws around the sector: text, depth ruler, logo, probe mark. Blind to the label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sample_data.convex import COLUMNS, ROWS, Convex
from sample_data.phantom import stream

TINTS = ((1.0, 1.0, 1.0), (0.93, 0.97, 1.0), (1.0, 0.96, 0.88))  # neutral, cold, warm screens


def furnish(grey: NDArray[np.uint8], probe: Convex, seed: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """(T, H, W) sector frames to (T, H, W, 3) screen frames, and the names of the distractors drawn on them."""
    draw = stream(seed, "ultrasound screen")
    layer = Image.new("RGB", (COLUMNS, ROWS))
    pen = ImageDraw.Draw(layer)
    font = ImageFont.load_default_imagefont()
    names = []
    wanted = {name: bool(draw.random() < 0.5) for name in ("text", "depth ruler", "logo", "probe mark")}
    frequency, output, gain = draw.uniform(2.5, 5), draw.uniform(0.6, 1.3), int(draw.integers(40, 70))
    side = str(draw.choice(["L", "R"]))
    if wanted["text"]:
        ink = (200, 200, 190)
        for line, words in enumerate((f"LUNG {side}{draw.integers(1, 7)}", f"{frequency:.1f} MHz", f"G {gain}%")):
            pen.text((3, 3 + 11 * line), words, ink, font)
        pen.text((262, 3), f"MI {output:.1f}", ink, font)
        pen.text((262, 14), f"{probe.depth / 10:.1f} cm", ink, font)
        names.append("text")
    if wanted["depth ruler"]:
        for centimetre in range(int(probe.depth / 10) + 1):
            tick = round(probe.pixel_of(0, 10.0 * centimetre)[0])
            pen.line([(314 if centimetre % 5 else 311, tick), (319, tick)], (170, 170, 170))
        names.append("depth ruler")
    if wanted["logo"]:
        colour = (40, 150, 170) if draw.random() < 0.5 else (200, 140, 40)
        pen.polygon([(8, 226), (16, 212), (24, 226)], outline=colour, fill=tuple(c // 3 for c in colour))
        pen.text((28, 214), "MC", colour, font)
        names.append("logo")
    if wanted["probe mark"]:
        row, column = probe.pixel_of(-probe.half_angle, 0)
        pen.ellipse([column - 9, row - 4, column - 3, row + 2], outline=(90, 200, 120))
        names.append("probe mark")
    drawn = np.asarray(layer) * ~probe.sector[..., None]  # never over tissue
    tint = np.asarray(TINTS[int(draw.integers(len(TINTS)))])
    table = np.rint(np.arange(256)[:, None] * tint).astype(np.uint8)  # grey level to RGB
    return np.maximum(table[grey], drawn), tuple(names)
