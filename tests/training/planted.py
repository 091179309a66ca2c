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

X_RAYS, CINES = "chest_xray_opacity", "lung_ultrasound"
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
