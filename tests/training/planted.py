"""Small pictures and cines with a bright spot or without, and a training of a very small network on them."""

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from medcam.training.options import Options
from medcam.training.settings import Settings
from tests.data.pictures import write_cine

X_RAYS, CINES, SLIDES = "chest_xray_opacity", "lung_ultrasound", "histology_tumour"
SIZE = 32
TINY = {"widths": [8, 16], "blocks": [1, 1], "strides": [1, 2], "stem_kernel": 3, "stem_pool": False}
QUICK = Settings(epochs=4, batch=8, rate=0.02, patience=None, augment=False, precision="32", seed=3)
OPTIONS = Options(arguments=TINY, size=(SIZE,), positive="spot, two spots", negative="clear", settings=QUICK, workers=1)
CANARY = "Zapatista"
"""Part of every patient's id and of every file's name: found in a bundle, it would give somebody away."""


def picture(random: np.random.Generator, spot: bool, size: int = SIZE) -> npt.NDArray[np.uint8]:
    """Noise, a ramp that says nothing, and a bright spot if there is one, anywhere."""
    values = random.uniform(40, 120, (size, size)) + np.linspace(0, 40, size) * random.choice([-1, 1])
    if spot:
        row, column = random.integers(4, size - 12, 2)
        values[row : row + 8, column : column + 8] = 250
    return values.clip(0, 255).astype(np.uint8)


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A manifest of these rows."""
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_pictures(folder: Path, patients: int = 60, seed: int = 0) -> Path:
    """Every other patient has the label of the spot, a seventh of them wrongly.

    The first has three pictures in two exams, the last one the picture of another. One file has a label that is in no
    group, and one is no picture.
    """
    random, rows = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for patient in range(patients):
        for number in range(3 if patient == 0 else 1 + patient % 2):
            file, spot = f"{CANARY}_{patient:02d}_{number}.png", patient % 2 == 0
            shown = spot != (patient % 7 == 3)
            Image.fromarray(picture(random, shown)).save(folder / file)
            if patient == patients - 1:
                shutil.copy(folder / f"{CANARY}_{patient - 2:02d}_{number}.png", folder / file)
            label = ("spot", "two spots|spot")[patient % 4 == 0] if spot else "clear"
            person, exam = f"{CANARY}-{patient:02d}", f"{CANARY}-{patient:02d}-{number // 2}"
            facts = {"sex": "FM"[patient // 2 % 2], "age": 30 + patient, "licence": "CC0"}
            rows.append({"file": file, "label": label, "patient_id": person, "exam": exam, **facts})
    others = {"exam": "", "sex": "", "age": "", "licence": "CC0"}
    Image.fromarray(picture(random, False)).save(folder / f"{CANARY}_other.png")
    (folder / f"{CANARY}_broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    rows.append({"file": f"{CANARY}_other.png", "label": "unclear", "patient_id": f"{CANARY}-x", **others})
    rows.append({"file": f"{CANARY}_broken.png", "label": "spot", "patient_id": f"{CANARY}-02", **others})
    return write_rows(folder, rows)


def write_cines(folder: Path, patients: int = 24) -> Path:
    """Cines of two seconds at twelve frames a second; of the sick every frame has its spot."""
    random, rows = np.random.default_rng(1), []
    folder.mkdir(parents=True, exist_ok=True)
    for patient in range(patients):
        spot, file = patient % 2 == 0, f"{patient:02d}.mkv"
        frames = np.stack([picture(random, spot) for _ in range(24 + patient)])
        write_cine(folder / file, frames, Fraction(12))
        rows.append({"file": file, "label": int(spot), "patient_id": f"patient {patient}"})
    return write_rows(folder, rows)


def cine_options() -> Options:
    """For `write_cines`."""
    return replace(OPTIONS, positive=None, negative=None, settings=replace(QUICK, epochs=2))


CLIP_STEP = 4
"""Frames of a clip from one that training looks at to the next: twelve a second, of which it takes three."""


def write_clips(folder: Path, patients: int = 32) -> tuple[Path, dict[str, tuple[int, int, int]]]:
    """Cines of nine to twelve looked-at frames of noise; of the sick two in a row have a bright spot in one place.

    Returns:
        The manifest, and by file the first of the two, and the spot's first row and column.
    """
    random, rows, truth = np.random.default_rng(2), [], {}
    folder.mkdir(parents=True, exist_ok=True)
    for patient in range(patients):
        file, count = f"{patient:02d}.mkv", 9 + patient % 4
        frames = random.uniform(40, 120, (count * CLIP_STEP, SIZE, SIZE))
        frames[:, 0] = 250  # in every frame: the window of grey values is the clip's and must not tell of the spot
        first, (row, column) = int(random.integers(0, count - 1)), random.integers(2, SIZE - 10, 2).tolist()
        if patient % 2 == 0:
            frames[CLIP_STEP * first : CLIP_STEP * (first + 2), row : row + 8, column : column + 8] = 250
            truth[file] = (first, row, column)
        write_cine(folder / file, frames.astype(np.uint8), Fraction(12))
        rows.append({"file": file, "label": int(patient % 2 == 0), "patient_id": f"patient {patient}"})
    return write_rows(folder, rows), truth


def patch(random: np.random.Generator, dark: bool) -> npt.NDArray[np.uint8]:
    """Light noise in colour (SIZE, SIZE, 3); a dark block at rows 8 to 19, columns 4 to 15 if asked for."""
    values = random.integers(200, 240, (SIZE, SIZE, 3)).astype(np.uint8)
    if dark:
        values[8:20, 4:16] = 30
    return values


def write_exams(folder: Path, patients: int = 28) -> Path:
    """One slide of each patient as four to seven patches, of which the sick have one dark one.

    Of every other sick patient only the dark patch has the label, of the others every patch has it.
    """
    random, rows = np.random.default_rng(3), []
    folder.mkdir(parents=True, exist_ok=True)
    for patient in range(patients):
        count = 4 + patient % 4
        at = int(random.integers(count)) if patient % 2 == 0 else -1
        for number in range(count):
            file = f"{patient:02d}_{number}.png"
            Image.fromarray(patch(random, number == at)).save(folder / file)
            label = int(at >= 0 and (number == at or patient % 4 == 0))
            rows.append({"file": file, "label": label, "patient_id": f"patient {patient}", "exam": f"slide {patient}"})
    return write_rows(folder, rows)


def bag_options(model: str) -> Options:
    """For `write_clips` and `write_exams`: a narrow encoder and attention."""
    arguments = {"encoder": {"name": "resnet18", **TINY}, "attention_width": 8}
    settings = replace(QUICK, epochs=10, batch=4, keep="last")
    return replace(OPTIONS, model=model, arguments=arguments, positive=None, negative=None, settings=settings)
