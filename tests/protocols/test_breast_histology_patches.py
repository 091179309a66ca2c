"""Two patients with patches of both kinds: what is learned of whom, and figures that can be had by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medcam.data.images import Images
from medcam.errors import UsageError
from medcam.progress import Progress
from medcam.protocols.base import Setting
from medcam.protocols.breast_histology_patches import LABELS, BreastHistologyPatches, block_of, mixed_patients
from tests.training.planted import TINY, write_rows

PATIENTS = {"idc-1": (8, 8), "idc-2": (6, 6), "idc-3": (5, 0), "idc-4": (0, 5)}
"""Patches with and without carcinoma."""


class Quick(BreastHistologyPatches):
    """A very small network that hardly learns."""

    epochs, per_epoch, network = 1, 32, TINY


def write_patches(folder: Path) -> tuple[Path, dict[str, float]]:
    """Patches whose darkness tells something, and by patient the AUROC of darkness from the pixels as written."""
    random, rows, areas = np.random.default_rng(0), [], {}
    (folder / "idc").mkdir(parents=True)
    for patient, (sick, healthy) in PATIENTS.items():
        labels, darkness = [1] * sick + [0] * healthy, []
        for number, label in enumerate(labels):
            pixels = (random.uniform(100, 200) - 20 * label + random.uniform(0, 30, (50, 50, 3))).astype(np.uint8)
            darkness.append(-float(pixels.mean()))
            file = f"idc/{patient}_{number}.png"
            Image.fromarray(pixels).save(folder / file)
            place = f"slide_xywh={50 * number},1001,50,50"
            name = "IDC" if label else "non-IDC"
            rows.append({"file": file, "label": name, "patient_id": patient, "box_or_mask": place})
        if sick and healthy:
            areas[patient] = float(roc_auc_score(labels, darkness))
    rows.append({"file": "glas.png", "label": "benign", "patient_id": "glas-1", "box_or_mask": ""})
    return write_rows(folder, rows), areas


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setting, list[str], dict[str, float]]:
    folder = tmp_path_factory.mktemp("patches")
    path, areas = write_patches(folder / "data")
    setting = Setting(path.parent, folder / "work")
    return setting, list(Quick().run(setting)), areas


def lines(sections: list[str], beginning: str) -> list[str]:
    return [line for line in "\n".join(sections).splitlines() if line.startswith(beginning)]


def test_patches_are_counted_and_other_rows_of_the_manifest_do_not_matter(
    ran: tuple[Setting, list[str], dict[str, float]],
) -> None:
    for number, (patient, (sick, healthy)) in enumerate(PATIENTS.items(), start=1):
        assert lines(ran[1], f"| {number}: {patient} ") == [f"| {number}: {patient} | {sick} | {healthy} |"]


def test_only_patients_with_both_kinds_are_tested_and_darkness_ranks_as_scikit_learn_says(
    ran: tuple[Setting, list[str], dict[str, float]],
) -> None:
    assert not lines(ran[1], "| idc-3") + lines(ran[1], "| idc-4")
    for patient, area in ran[2].items():
        told = [line for line in lines(ran[1], f"| {patient} ") if "darkness" in line]
        assert len(told) == 1
        assert f"| {area:.3f} " in told[0]
        assert len(lines(ran[1], f"| {patient} ")) == 3


def test_a_second_run_trains_nothing_and_says_the_same(
    ran: tuple[Setting, list[str], dict[str, float]], capfd: pytest.CaptureFixture[str]
) -> None:
    setting = Setting(ran[0].data, ran[0].work, progress=Progress())
    assert list(Quick().run(setting)) == ran[1]
    told = capfd.readouterr().err
    assert "22 patches to learn from, 16 to test" in told  # of 38, nothing of the tested patient
    assert "26 patches to learn from, 12 to test" in told
    assert "epoch" not in told


def test_squares_of_a_slide() -> None:
    assert block_of("a", "slide_xywh=1001,249,50,50") == "a 4,0"
    assert block_of("a", "slide_xywh=1249,250,50,50") == "a 4,1"
    assert block_of("b", "slide_xywh=1249,250,50,50") != block_of("a", "slide_xywh=1249,250,50,50")


def test_one_mixed_patient_is_too_few(tmp_path: Path) -> None:
    patients, targets = ["b", "b", "a", "c"], np.array([[1], [0], [1], [0]])
    assert mixed_patients(Images.of(np.zeros((4, 3, 2, 2)), targets, patients, LABELS)) == ["b"]
    path, _ = write_patches(tmp_path / "data")
    kept = [line for line in path.read_text().splitlines() if "idc-2" not in line]
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(UsageError, match="two are needed") as caught:
        Quick().run(Setting(path.parent, tmp_path / "work"))
    assert caught.value.code == "too-few-patients"
