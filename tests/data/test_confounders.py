from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcam.data.confounders import _interval, probe
from medcam.data.dataset import Images, load
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from tests.data.pictures import picture, write_manifest

SIZE = {"size": (24, 24)}


def test_planted_shortcuts_are_told_and_others_are_not(tmp_path: Path) -> None:
    """Of 60 patients the sick come from a bright site, in a file of another size, from another device."""
    rng = np.random.default_rng(0)
    rows, cells = [], ["device,site,note"]
    for number in range(120):
        patient = number // 2
        sick = patient % 2 == 0
        shape = (40, 30) if sick ^ (rng.random() < 0.15) else (40, 40)
        values = picture(number, shape) // 2 + (60 if sick else 0)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
        rows.append((f"{number}.png", str(int(sick)), f"p{patient}"))
        cells.append(f"{'A' if sick else 'B'},{rng.choice(['north', 'south'])},n{number}")
    manifest = write_manifest(tmp_path, rows, cells)
    images, _ = load(manifest, Labelling.parse("x"), "xray", SIZE, workers=1)
    found = {one.shortcut: one for one in probe(images, manifest)}
    assert set(found) == {"size", "brightness", "device", "site", "all"}  # all are grey; a note is no origin
    assert found["device"].auroc == 1
    assert found["size"].auroc == pytest.approx(0.85, abs=0.08)
    assert found["brightness"].auroc > 0.9
    assert found["site"].auroc == pytest.approx(0.5, abs=0.15)
    assert [name for name, one in found.items() if one.tells] == ["size", "brightness", "device", "all"]
    assert probe(images, manifest, ["note"])[-1].shortcut == "all"  # 120 different cells tell nothing about a new one
    assert str(found["device"]) == "device alone tells x with AUROC 1.00 (1.00 to 1.00)"


def test_frames_of_one_file_count_once_and_a_lonely_label_not_at_all(tmp_path: Path) -> None:
    rows = [(f"{number}.png", "a" if number else "b", f"p{number}") for number in range(12)]
    for number in range(12):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    manifest = write_manifest(tmp_path, rows)
    images, _ = load(manifest, Labelling.multilabel(["a", "b"]), "xray", SIZE, workers=1)
    assert probe(images, manifest) == ()  # one patient has b, one has not a
    rows = [(file, "a" if number % 2 else "c", patient) for number, (file, _, patient) in enumerate(rows)]
    manifest = write_manifest(tmp_path, rows)
    images, _ = load(manifest, Labelling.multilabel(["a"]), "xray", SIZE, workers=1)
    many = images.subset(np.repeat(np.arange(12), np.arange(1, 13)))
    assert [str(one) for one in probe(many, manifest)] == [str(one) for one in probe(images, manifest)]


def test_the_interval_is_as_wide_as_aurocs_scatter() -> None:
    """Of exponential scores, for which the formula is exact: sick with mean 3, healthy with mean 1, so AUROC 3/4."""
    rng = np.random.default_rng(0)
    sick, healthy = rng.exponential(3, (4000, 20, 1)), rng.exponential(1, (4000, 1, 30))
    aurocs = (sick > healthy).mean((1, 2))
    low, high = _interval(0.75, 20, 30)
    assert (low + high) / 2 == pytest.approx(aurocs.mean(), abs=0.005)
    assert (high - low) / 2 / 1.96 == pytest.approx(aurocs.std(), rel=0.05)


def test_real_views_tell_opacity(shared_data: Path) -> None:
    manifest = Manifest.read(shared_data / "cxr_lowres320" / "manifest.csv")
    labelling = Labelling.parse("opacity", positive="Infiltration,Pneumonia,Consolidation", negative="No Finding")
    used = [n for n, row in enumerate(manifest.rows) if labelling.target(row.label) is not None]
    targets = [labelling.target(manifest.rows[n].label) for n in used]
    patients = [manifest.rows[n].patient_id for n in used]
    images = Images.of(np.zeros((len(used), 1, 2, 2)), targets, patients, labelling)
    images.rows = np.array(used)
    found = {one.shortcut: one for one in probe(images, manifest)}
    assert found["view_or_probe"].tells
    assert found["pool"].auroc > 0.75  # which collection an image was taken from
