"""Cines of three classes: which clips and frames are used, what a split by clip is, and that nothing is trained twice."""

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from medcam.data.manifest import Manifest
from medcam.protocols import _frames
from medcam.protocols import lung_ultrasound_2020 as protocol
from medcam.protocols._frames import train_frames
from medcam.protocols.base import Setting
from medcam.training.settings import Settings
from tests.data.pictures import write_cine
from tests.training.planted import picture, write_rows

LABELS = ("covid19", "bacterial_pneumonia", "healthy")
SMALL = "mobilenet_v3_small"
SECONDS, FRAMES = 1, 4
"""Of a clip of ten frames at 10 Hz, every int(10 / 3) = third frame: 0, 3, 6 and 9."""


def write_clips(folder: Path) -> Path:
    """Of each class three groups with two clips each; clips of another data set with a severity; and some to leave."""
    random, rows = np.random.default_rng(0), []
    folder.mkdir()

    def clip(name: str, label: str, group: str, dataset: str, probe: str = "convex", severity: str = "") -> None:
        frames = np.stack([picture(random, label == "covid19", 48) for _ in range(10 * SECONDS)])
        write_cine(folder / f"{name}.mkv", frames, Fraction(10))
        facts = {"view_or_probe": probe, "dataset": dataset, "severity_score": severity}
        rows.append({"file": f"{name}.mkv", "label": label, "patient_id": group, **facts})

    for label in LABELS:
        for number in range(6):
            clip(f"{label}_{number}", label, f"{label} {number // 2}", protocol.POCUS)
    clip("viral", "viral_pneumonia", "viral", protocol.POCUS)
    clip("linear", "healthy", "linear", protocol.POCUS, "linear")
    for number in range(6):
        label = ("covid19", "covid_negative_symptomatic")[number % 2]
        clip(f"blues_{number}", label, f"blues {number // 2}", protocol.BLUES, severity=f"{number % 3}.0")
    return write_rows(folder, rows)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clips")
    path = write_clips(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "Settings", lambda **more: Settings(**{**more, "epochs": 1, "per_epoch": 16}))
        patch.setattr(protocol, "train_frames", lambda images, _, *more: train_frames(images, SMALL, *more))
        patch.setattr(_frames, "PASSES", 2)
        return "\n".join(protocol.LungUltrasound2020().run(Setting(path.parent, folder / "work")))


def test_convex_clips_of_three_classes_are_used_at_three_frames_a_second(text: str) -> None:
    for name in protocol.CLASSES:
        assert f"| {name} | 3 | 6 | {6 * FRAMES} |" in text
    assert f"| groups | frames |  | {18 * FRAMES} |" in text
    assert "| groups | clips | majority vote | 18 |" in text
    assert "| clips (leaks) | clips | mean probability | 18 |" in text


def test_severity_is_told_by_clip_of_the_other_data_set(text: str) -> None:
    assert "6 clips of 3 patients of COVID-BLUES" in text
    for level in (0, 1, 2):
        assert f"| {level} | 2 | 0." in text


def test_a_split_by_clip_calls_every_clip_a_patient_and_changes_nothing_else(tmp_path: Path) -> None:
    path = write_clips(tmp_path / "data")
    loose = Manifest.read(protocol._by_clip(path, tmp_path / "work"))
    before = Manifest.read(path)
    assert [row.file for row in loose.rows] == [row.file.resolve() for row in before.rows]
    assert [row.label for row in loose.rows] == [row.label for row in before.rows]
    assert len({row.patient_id for row in loose.rows}) == len(before.rows)
    with path.open(newline="") as stream:
        assert len({row["patient_id"] for row in csv.DictReader(stream)}) < len(before.rows)
