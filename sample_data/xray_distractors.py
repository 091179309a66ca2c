"""What else lies on a chest X-ray, whatever the label: markers, tubes, electrodes, text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sample_data.projection import Array, Projection
from sample_data.texture import smooth
from sample_data.thorax import Thorax


def draw_distractors(
    thorax: Thorax, view: Projection, portable: bool, rng: np.random.Generator
) -> tuple[Array, tuple[str, ...]]:
    """A map (H, W) of metal in mm, and the names of what it shows. The draws cannot see the label."""
    metal, names = view.zeros(), []
    if rng.random() < 0.85:
        left = rng.random() < 0.7
        names.append("side marker L" if left else "side marker R")
        column = rng.integers(448, 478) if left else rng.integers(20, 50)  # the patient's left is on the right
        _letters(metal, "L" if left else "R", (int(column), int(rng.integers(24, 90))), int(rng.integers(22, 34)), 12)
    if rng.random() < 0.4:
        names.append("text")
        words = rng.choice(["PORTABLE", "ERECT", "SUPINE", "CHEST 1", "RM 4"])
        _letters(metal, str(words), (int(rng.integers(12, 60)), int(rng.integers(470, 492))), 13, 10)
    if rng.random() < 0.35:
        names.append("endotracheal tube")
        for shift in (-3.2, 3.2):
            view.tube(metal, (210, 0, shift), (40, 0, 1 + shift), 0.7)
    if rng.random() < 0.35:
        names.append("central venous catheter")
        line = [(118, -150), (98, -90), (84, -44), (66, -24), (4, -20)]
        for (z0, x0), (z1, x1) in pairwise(line):
            view.tube(metal, (z0, 0, x0), (z1, 0, x1), 1.0)
    if rng.random() < 0.4:
        names.append("ECG leads")
        for z, x in ((70, -78), (74, 84), (-52, 96)):
            at = (z + rng.uniform(-14, 14), 0.0, x + rng.uniform(-14, 14))
            view.tube(metal, at, at, 4.2, 0.55)
            bend = (at[0] - 60, 0.0, at[2] * 0.55 + rng.uniform(-14, 14))
            for start, end in ((at, bend), (bend, (-200.0, 0.0, 30.0))):
                view.tube(metal, start, end, 0.55)
    return smooth(metal, 1, (0, 1)), tuple(names)


def _letters(metal: Array, words: str, at: tuple[int, int], height: int, thick: float) -> None:
    """Lead letters, `at` (column, row) of their upper left corner."""
    page = Image.new("L", metal.shape[::-1])
    ImageDraw.Draw(page).text(at, words, fill=255, font=ImageFont.load_default(size=height))
    np.maximum(metal, np.asarray(page, dtype=np.float32) * np.float32(thick / 255), out=metal)
