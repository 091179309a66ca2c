"""The X-ray phantom: seen from the front with the patient's right on the left, and true about its opacities."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from sample_data import chest_xray, dicom, lateral_xray
from sample_data.phantom import Phantom, stream
from sample_data.projection import Projection
from sample_data.texture import smooth
from sample_data.thorax import Thorax
from sample_data.xray_anatomy import project
from sample_data.xray_distractors import draw_distractors


@cache
def made(seed: int, sick: bool) -> Phantom:
    return chest_xray.phantom(seed, sick)


@pytest.mark.parametrize("seed", range(3))
def test_denser_is_brighter_and_left_is_on_the_right(seed: int) -> None:
    thorax, film = Thorax.of_seed(seed), np.asarray(made(seed, False).pixels)
    assert film.min() >= 0
    assert film.max() <= 1

    def around(z: float, x: float, reach: int = 6) -> float:
        """The film at a place of the thorax; the view is off its centre by at most 14 mm, so look at broad things."""
        row, column = round(255.5 - z / 0.75), round(255.5 + x / 0.75)
        return float(np.median(film[row - reach : row + reach, column - reach : column + reach]))

    lungs = [around(20, side * 75) for side in (-1, 1)]
    assert around(170, 180) < 0.15 < min(lungs)  # air beside the neck, then lung
    assert max(lungs) < around(-20, 0) - 0.1  # mediastinum
    assert around(-150, -60) > max(lungs) + 0.2  # liver
    beside = thorax.heart[2] + 0.75 * thorax.heart_radii[2]
    assert (
        around(thorax.heart[0], beside) > around(thorax.heart[0], -beside - 4) + 0.03
    )  # the heart reaches to the left


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_where_sick_and_healthy_differ(seed: int) -> None:
    sick, healthy = made(seed, True), made(seed, False)
    difference = np.asarray(sick.pixels) - np.asarray(healthy.pixels)
    assert difference[sick.mask].mean() > 0.03
    assert (difference[sick.mask] > 0).mean() > 0.95  # an opacity is brighter, everywhere
    near = smooth(sick.mask.astype(np.float32), 30, (0, 1)) > 0  # within 30 pixels: soft edge and edge enhancement
    assert np.abs(difference[~near]).max() < 0.01
    assert np.abs(difference[sick.mask]).sum() > 0.55 * np.abs(difference).sum()
    inside = np.abs(difference[sick.mask]).mean()
    assert np.abs(difference[near & ~sick.mask]).mean() < 0.25 * inside
    for lesion in sick.lesions:
        start, stop = lesion.box
        extent = 0.75 * max(high - low for low, high in zip(start, stop, strict=True))
        assert 25 <= lesion.size_mm == extent <= 80
    assert (sick.distractors, sick.view) == (healthy.distractors, healthy.view)


@pytest.mark.parametrize("seed", range(3))
def test_an_opacity_lies_in_a_lung_field(seed: int) -> None:
    phantom, thorax = made(seed, True), Thorax.of_seed(seed)
    rows, columns = np.nonzero(phantom.mask)
    y = np.arange(-90, 91, 10, dtype=np.float32)[None, :]
    z, x = (255.5 - rows) * 0.75, (columns - 255.5) * 0.75
    # the view may be off the thorax's centre by 14 mm; the lung must be there for nearly every pixel all the same
    hit = (thorax.lung(z[:, None].astype(np.float32), y, x[:, None].astype(np.float32)) < 14).any(axis=1)
    assert hit.mean() > 0.98


def test_views_and_distractors_are_drawn_without_the_label() -> None:
    """They come from streams that never see it; here are their frequencies over 40 seeds."""
    view, seen = Projection(512, 0.75), dict[str, int]()
    for seed in range(40):
        metal, names = draw_distractors(Thorax.of_seed(seed), view, False, stream(seed, "dx distractors"))
        assert (metal > 0).any() == bool(names)
        for name in names:
            seen[name] = seen.get(name, 0) + 1
    assert 26 <= seen["side marker L"] + seen["side marker R"] <= 40
    assert all(seen[name] >= 4 for name in ("side marker R", "text", "endotracheal tube"))
    assert all(4 <= seen[name] <= 26 for name in ("text", "endotracheal tube", "central venous catheter", "ECG leads"))
    portable = sum(stream(seed, "dx").random() < 0.4 for seed in range(40))
    assert 8 <= portable <= 24


def test_side_markers_lie_on_their_side() -> None:
    for seed in range(30):
        view = Projection(512, 0.75)
        metal, names = draw_distractors(Thorax.of_seed(seed), view, False, stream(seed, "dx distractors"))
        top = metal[:125] > 10  # lead letters are thicker than any tube or electrode
        if "side marker L" in names:
            assert top[:, 400:].any()
            assert not top[:, :100].any()
        elif "side marker R" in names:
            assert top[:, :100].any()
            assert not top[:, 400:].any()


def test_every_ray_meets_at_least_its_lung() -> None:
    thorax, view = Thorax.of_seed(1), Projection(512, 0.75)
    paths = project(thorax, view, False, stream(1, "paths"))
    assert paths.lung.min() >= 0
    assert paths.bone.min() >= -1e-3
    assert (paths.lung <= paths.soft + 25).all()  # a body is thicker than its lungs
    assert 120 < paths.lung.max() < 2 * thorax.half_depth


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, patient: dicom.Patient, study: dicom.Study) -> None:
    first = chest_xray.write(made(0, True), tmp_path / "a", patient, study)[0]
    second = chest_xray.write(chest_xray.phantom(0, True), tmp_path / "b", patient, study)[0]
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("inverted", [False, True])
def test_the_file_says_what_the_film_shows(
    inverted: bool, tmp_path: Path, patient: dicom.Patient, study: dicom.Study
) -> None:
    phantom = made(2, True)
    path = chest_xray.write(phantom, tmp_path, patient, study, inverted=inverted, name="IMAGE")[0]
    header = pydicom.dcmread(path)
    stored = header.pixel_array.astype(float)
    assert stored.max() <= 4095
    assert header.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    bright = 1 - stored / 4095 if inverted else stored / 4095
    assert np.abs(bright - phantom.pixels).max() <= 0.5 / 4095 + 1e-6
    assert (header.BodyPartExamined, header.ViewPosition) == ("CHEST", phantom.view)
    assert list(header.PatientOrientation) == ["L", "F"]
    assert list(header.ImagerPixelSpacing) == [0.75, 0.75]
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSize()[:2] == (512, 512)
    assert np.allclose(image.GetSpacing()[:2], 0.75)


def test_all_views_are_valid_dicom(
    tmp_path: Path, patient: dicom.Patient, study: dicom.Study, dicom_errors: Callable[[Path], list[str]]
) -> None:
    frontal = {made(seed, True).view: made(seed, True) for seed in range(6)}
    assert set(frontal) == {"PA", "AP"}
    for view, phantom in {**frontal, "LL": lateral_xray.phantom(1)}.items():
        for inverted in (False, True):
            paths = chest_xray.write(phantom, tmp_path / f"{view}{inverted}", patient, study, inverted=inverted)
            assert dicom_errors(paths[0]) == []


def test_the_lateral_view_has_the_heart_in_front_and_lung_behind_it() -> None:
    film = np.asarray(lateral_xray.phantom(1).pixels)
    heart, behind = film[222:238, 190:206], film[222:238, 265:281]  # 26 mm before, 30 mm behind the middle of the chest
    assert heart.mean() > behind.mean() + 0.1
