"""The picture in the README: of each pipeline's strongest demonstration case the original beside the overlay.

python docs/demo_picture.py demo/results docs/demo.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medcam.display import overlay, picture_evidence
from medcam.results import Results

SIDE = 300
"""Pixels of one panel."""
GAP = 6
TITLE = 26
BACKGROUND = (16, 20, 24)


def panels(results: Results, key: str) -> tuple[str, Image.Image, Image.Image]:
    """Title, original and overlay of a case's first key image, each fitted into a square."""
    case = results.case(key)
    key_image = case.key_images[0]
    base = np.asarray(Image.open(results.path(key) / key_image.file).convert("RGB"))
    painted = overlay(base, picture_evidence(case, key_image), case.explanation.display_range)
    title = f"{case.modality}: {case.finding}, {case.prediction.score_name} {case.prediction.score:.2f}"
    return title, square(base), square(painted)


def square(picture: np.ndarray) -> Image.Image:
    """The picture at its proportions in the middle of a square."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    if max(image.size) < SIDE:
        scale = SIDE / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    canvas.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return canvas


def compose(folder: Path, out: Path) -> None:
    """Two rows of two cases."""
    results = Results.open(folder)
    strongest: dict[str, tuple[float, str]] = {}
    for row in results.rows():
        strongest[row["pipeline"]] = max(strongest.get(row["pipeline"], (-1.0, "")), (row["score"], row["key"]))
    cases = [panels(results, key) for _, (_, key) in sorted(strongest.items())]
    results.close()
    width, height = 2 * SIDE + GAP, SIDE + TITLE
    rows = -(-len(cases) // 2)
    sheet = Image.new("RGB", (2 * width + 3 * GAP, rows * (height + GAP) + GAP), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (title, original, painted) in enumerate(cases):
        left = GAP + (number % 2) * (width + GAP)
        top = GAP + (number // 2) * (height + GAP)
        draw.text((left + 2, top + 4), title, fill=(230, 230, 230), font=font)
        sheet.paste(original, (left, top + TITLE))
        sheet.paste(painted, (left + SIDE + GAP, top + TITLE))
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    compose(Path(sys.argv[1]), Path(sys.argv[2]))
