"""The CT phantom: anatomy where it belongs, lesions of the right volume, geometry that an independent reader finds."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from sample_data import chest_ct, dicom
from sample_data.chest_ct import Geometry, Habits
from sample_data.ct_anatomy import paint_distractors
from sample_data.nodules import Nodule, plant
from sample_data.phantom import Phantom, stream
from sample_data.thorax import Thorax
from sample_data.volume import Volume


@cache
def made(seed: int, sick: bool) -> Phantom:
    return chest_ct.phantom(seed, sick)


def _grid(phantom: Phantom) -> Volume:
    return Volume(phantom.pixels.shape, phantom.spacing)


@pytest.mark.parametrize("seed", [0, 4])
def test_tissues_have_their_hounsfield_units_at_known_places(seed: int) -> None:
    phantom, thorax = made(seed, False), Thorax.of_seed(seed)
    grid = _grid(phantom)

    def mean(z: float, y: float, x: float, reach: float = 6) -> float:
        box = grid.box((z - reach, y - reach, x - reach), (z + reach, y + reach, x + reach))
        return float(phantom.pixels[box].mean())

    deep = thorax.lung(grid.z, grid.y, grid.x) < -8
    assert -890 < np.median(phantom.pixels[deep]) < -800
    assert 25 < mean(*thorax.heart) < 240
    assert 40 < mean(thorax.domes[0] - 40, 0, -60) < 80  # liver: on the right
    assert 120 < mean(-20, 70, 0) < 500  # vertebra: at the back, in the middle
    assert mean(110, 14, 0, 4) < -900  # trachea: above, in the middle
    assert mean(0, -thorax.half_depth - 70, 0) < -950  # air in front of the chest
    assert phantom.pixels.max() > 500  # bone


@pytest.mark.parametrize("seed", range(3))
def test_the_heart_points_to_the_left_and_the_head_lies_at_the_end(seed: int) -> None:
    pixels = made(seed, False).pixels
    depth = len(pixels)
    aerated = (pixels > -950) & (pixels < -700)
    lower = aerated[depth // 3 : depth // 2, :90].sum(axis=(0, 1))
    assert lower[:80].sum() > 1.1 * lower[80:].sum()  # more lung on the patient's right (low w): the heart is left
    assert aerated[-4:].sum() < 0.3 * aerated[depth // 2 : depth // 2 + 4].sum()  # the apex is narrow, towards the head
    assert (pixels[:4] > 20).sum() > 1.2 * (
        pixels[depth // 2 : depth // 2 + 4] > 20
    ).sum()  # the abdomen is not aerated


@pytest.mark.parametrize("diameter", [8.0, 14.0, 24.0])
def test_a_nodule_has_its_analytic_volume(diameter: float) -> None:
    volume = Volume((40, 80, 80), (4.5, 2.2, 2.2))
    volume.hu[:] = -850
    radii = (0.5 * diameter, 0.45 * diameter, 0.475 * diameter)
    true = 4 / 3 * np.pi * np.prod(radii)
    voxel = np.prod(volume.spacing)
    for centre in ((0.7, 3.1, -4.2), (2.25, 1.1, 0.0)):
        nodule = Nodule("solid nodule", centre, radii, 50.0)
        box, cover = nodule.covers(volume)
        assert np.isclose(cover.sum() * voxel, true, rtol=0.01)
        before = volume.hu.copy()
        mask = plant(volume, nodule)
        added = (volume.hu - before).sum(dtype=float) / 900 * voxel
        assert np.isclose(added, true, rtol=0.01)
        assert mask.sum() == (cover > 0.5).sum()
        assert np.isclose(mask.sum() * voxel, true, rtol=0.35 if diameter < 10 else 0.12)
        volume.hu[:] = -850
        assert all(part.start > 0 for part in box)


@pytest.mark.parametrize("seed", range(6))
def test_sick_and_healthy_differ_at_the_nodules_alone(seed: int) -> None:
    sick, healthy = made(seed, True), made(seed, False)
    changed = sick.pixels != healthy.pixels
    allowed = np.zeros(changed.shape, dtype=bool)
    for lesion in sick.lesions:
        start, stop = lesion.box
        allowed[tuple(slice(low - 1, high + 1) for low, high in zip(start, stop, strict=True))] = True
        assert 6 - 0.21 <= lesion.size_mm <= 30
    assert not (changed & ~allowed).any()
    assert (sick.pixels - healthy.pixels)[sick.mask].mean() > 200
    assert np.median(healthy.pixels[sick.mask]) < -750  # it lies in lung, not in the mediastinum or the chest wall
    deep = Thorax.of_seed(seed).lung(*(getattr(_grid(sick), axis) for axis in "zyx"))
    assert deep[sick.mask].max() < 0
    assert sick.distractors == healthy.distractors


def test_distractors_are_neither_never_nor_always_there() -> None:
    """Their draw takes no label; here are their frequencies over 40 seeds."""
    seen: dict[str, int] = {}
    for seed in range(40):
        names = paint_distractors(
            Volume((3, 8, 8), (90, 40, 40)), Thorax.of_seed(seed), stream(seed, "ct distractors")
        )  # fmt: skip
        for name in names:
            seen[name] = seen.get(name, 0) + 1
    assert seen.pop("table") == 40
    assert set(seen) == {"central venous catheter", "pacemaker", "calcified lymph node", "ECG lead"}
    assert all(4 <= count <= 24 for count in seen.values())


def _write(phantom: Phantom, folder: Path, patient: dicom.Patient, study: dicom.Study, **how: object) -> list[Path]:
    return chest_ct.write(phantom, folder, patient, study, **how)  # type: ignore[arg-type]


def _read(paths: list[Path]) -> SimpleITK.Image:
    """The series as SimpleITK stacks it: sorted by position, whatever files and numbers say."""
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(paths[0].parent))
    return SimpleITK.ReadImage(list(names))


@pytest.mark.parametrize(("degrees", "axis"), [(0.0, "x"), (6.0, "x"), (-5.0, "y"), (7.0, "z")])
def test_an_independent_reader_finds_the_lesion_where_the_truth_says(
    degrees: float, axis: str, tmp_path: Path, patient: dicom.Patient, study: dicom.Study
) -> None:
    sick, healthy = made(0, True), made(0, False)
    geometry = Geometry.of(sick, degrees, axis, (12.5, -170.25, -300.0))
    image = _read(_write(sick, tmp_path / "sick", patient, study, geometry=geometry))
    before = _read(_write(healthy, tmp_path / "healthy", patient, study, geometry=geometry))
    # every corner of the array, by ITK's geometry and by ours; ITK counts (w, h, d)
    for index in ((0, 0, 0), (len(sick.pixels) - 1, 0, 159), (3, 159, 20)):
        assert np.allclose(image.TransformIndexToPhysicalPoint(index[::-1]), geometry.lps(index), atol=1e-3)
    assert np.allclose(image.TransformContinuousIndexToPhysicalPoint((79.5, 79.5, (len(sick.pixels) - 1) / 2)),
                       (12.5, -170.25, -300.0), atol=1e-3)  # fmt: skip
    lesion = sick.lesions[0]
    point = geometry.lps(lesion.centre)
    assert image[image.TransformPhysicalPointToIndex(point)] > -100
    assert before[before.TransformPhysicalPointToIndex(point)] < -600
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), np.rint(sick.pixels).astype(int))


def test_a_tilt_turns_the_slices_and_does_not_shear_them(
    tmp_path: Path, patient: dicom.Patient, study: dicom.Study
) -> None:
    phantom = made(0, True)
    geometry = Geometry.of(phantom, 6.0, "x")
    headers = [pydicom.dcmread(path) for path in _write(phantom, tmp_path, patient, study, geometry=geometry)]
    row, column = np.array(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    assert np.allclose(normal, [0, -np.sin(np.deg2rad(6)), np.cos(np.deg2rad(6))], atol=1e-6)
    steps = np.diff([np.array(header.ImagePositionPatient, dtype=float) for header in headers], axis=0)
    assert np.allclose(steps, normal * phantom.spacing[0], atol=1e-4)


def test_order_in_space_is_not_that_of_names_or_numbers(
    tmp_path: Path, patient: dicom.Patient, study: dicom.Study
) -> None:
    paths = _write(made(0, True), tmp_path, patient, study, habits=Habits(extension=""))
    assert all(path.suffix == "" for path in paths)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    heights = [float(header.ImagePositionPatient[2]) for header in headers]
    assert heights == sorted(heights)
    numbers = [int(header.InstanceNumber) for header in headers]
    assert len(set(numbers)) == len(numbers)
    assert abs(np.corrcoef(numbers, heights)[0, 1]) < 0.5


@pytest.mark.parametrize("habits", [Habits(signed=True), Habits(varying_intercept=True), Habits(omitted=(4, 9))])
def test_every_habit_keeps_the_hounsfield_units(
    habits: Habits, tmp_path: Path, patient: dicom.Patient, study: dicom.Study
) -> None:
    phantom = made(0, True)
    written = [d for d in range(len(phantom.pixels)) if d not in habits.omitted]
    paths = _write(phantom, tmp_path, patient, study, habits=habits)
    assert len(paths) == len(written)
    headers = [pydicom.dcmread(path) for path in paths]
    for d, header in zip(written, headers, strict=True):
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        assert np.array_equal(hu, np.rint(phantom.pixels[d]))
    assert (min(int(header.pixel_array.min()) for header in headers) < 0) == habits.signed
    assert (len({float(header.RescaleIntercept) for header in headers}) > 1) == habits.varying_intercept


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, patient: dicom.Patient, study: dicom.Study) -> None:
    again = chest_ct.phantom(0, True)
    assert np.array_equal(again.mask, made(0, True).mask)
    first = _write(made(0, True), tmp_path / "a", patient, study, habits=Habits(localizer=True))
    second = _write(again, tmp_path / "b", patient, study, habits=Habits(localizer=True))
    assert [path.name for path in first] == [path.name for path in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


def test_slices_and_localizer_are_valid_dicom(
    tmp_path: Path, patient: dicom.Patient, study: dicom.Study, dicom_errors: Callable[[Path], list[str]]
) -> None:
    phantom = made(0, True)
    geometry = Geometry.of(phantom, 6.0, "x", (1, 2, 3))
    habits = Habits(localizer=True)
    paths = _write(phantom, tmp_path / "a", patient, study, geometry=geometry, habits=habits)
    signed = _write(phantom, tmp_path / "b", patient, study, habits=replace(habits, signed=True))
    localizer = pydicom.dcmread(paths[-1])
    assert localizer.ImageType[2] == "LOCALIZER"
    assert localizer.SeriesInstanceUID == pydicom.dcmread(paths[0]).SeriesInstanceUID
    for path in (paths[0], paths[-2], paths[-1], signed[0]):
        assert dicom_errors(path) == []
