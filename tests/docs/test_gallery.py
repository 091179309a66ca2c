"""The gallery's scripts run, and what they draw points at the planted lesions."""

import importlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from docs.gallery import sheet, transformers
from docs.gallery.sheet import Subject, phantom, write_sheet
from medcam.explainers import SHELF
from medcam.explainers.base import Family
from medcam.grid import Grid, resample

SCRIPTS = {path.stem for path in Path(sheet.__file__).parent.glob("*.py")} - {"sheet"}


@pytest.fixture(scope="module")
def transformer() -> torch.nn.Module:
    return transformers.trained()


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_write_one_panel_for_each_method(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transformer: torch.nn.Module
) -> None:
    monkeypatch.setattr(transformers, "trained", lambda: transformer)
    drawn: dict[Path, list[str]] = {}

    def written(panels: list[tuple[str, np.ndarray]], path: Path) -> None:
        drawn[path] = [title for title, _ in panels]
        write_sheet(panels, path)

    monkeypatch.setattr(sheet, "write_sheet", written)
    files = importlib.import_module(f"docs.gallery.{name}").main(tmp_path)
    for path in files:
        titles = [title.replace(":", "").split()[0] for title in drawn[path]]
        families = {SHELF.load(title).family for title in titles[1:]}
        assert titles[1:] == [n for n in SHELF.names() if SHELF.load(n).family in families]
        pixels = np.asarray(Image.open(path))
        assert pixels.shape[1] == min(4, len(titles)) * (sheet.SIDE + sheet.GAP) + sheet.GAP
        assert pixels.std() > 10


def test_every_family_has_a_script() -> None:
    text = "".join((Path(sheet.__file__).parent / f"{name}.py").read_text() for name in SCRIPTS)
    assert all(f'"{family}"' in text for family in get_args(Family))


def peaks_inside(subject: Subject, method: str) -> bool:
    """Whether the strongest cell touches the lesion."""
    record = subject.explained(method).sample(0, 0)
    at = np.unravel_index(record.evidence.argmax(), record.evidence.shape)
    touched = np.zeros(record.evidence.shape, np.float32)
    touched[at] = 1
    return bool((resample(touched, record.grid, record.input_grid) > 0.25)[subject.mask].any())


@pytest.mark.parametrize(("pipeline", "seed"), [("chest_xray_opacity", 63), ("chest_ct_nodule", 73)])
def test_maps_of_the_phantoms_point_at_the_lesion(pipeline: str, seed: int) -> None:
    subject = phantom(pipeline, seed)
    assert all(peaks_inside(subject, name) for name in ("gradcam", "hirescam", "layercam"))


def test_maps_of_the_transformer_point_at_the_disc(transformer: torch.nn.Module) -> None:
    x, masks = transformers.discs(40, 20_000)
    names = ["gradcam", *(name for name in SHELF.names() if SHELF.load(name).family == "transformer")]
    hits = dict.fromkeys(names, 0)
    for row in range(1, 40, 2):
        subject = Subject(
            transformer, x[row : row + 1], Grid.plane((64, 64)), masks[row].numpy(), layer="auto", target=1
        )
        for name in names:
            hits[name] += peaks_inside(subject, name)
    assert min(hits.values()) >= 16, hits  # of 20
