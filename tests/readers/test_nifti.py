"""NIfTI: values and places against nibabel and SimpleITK, and what is refused."""

import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from medcam.errors import BudgetError, InputError
from medcam.grid import Grid
from medcam.readers.nifti import Nifti
from medcam.study import Pixels, Series, SeriesRecord

OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.25, -0.15, 0.35) @ np.diag([-0.8, 0.9, 2.5]), [12.0, -30.0, 7.0]
)
READER = Nifti()


def saved(path: Path, values: np.ndarray, affine: np.ndarray = OBLIQUE, **fields: float) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def record(path: Path) -> SeriesRecord:
    (found,) = READER.series([READER.header(path)])
    return found


def read(path: Path) -> tuple[Series, Pixels]:
    series = record(path).series
    assert series is not None
    return series, READER.pixels(series)


def signed_permutations() -> list[np.ndarray]:
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turn = np.zeros((3, 3))
            turn[order, range(3)] = signs
            turns.append(turn)
    return turns


def test_whatever_way_it_is_stored_every_voxel_keeps_its_place(tmp_path: Path) -> None:
    """All 48 ways of storing axes: each value sits where nibabel says, and the array runs up, back and left."""
    values = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    for number, turn in enumerate(signed_permutations()):
        affine = nibabel.affines.from_matvec(turn @ np.diag([0.7, 1.1, 2.3]), [-20.0, 35.0, 4.0])
        path = saved(tmp_path / f"{number}.nii", values, affine)
        series, pixels = read(path)
        theirs = nibabel.load(path)
        for index in itertools.product((0, 2), (0, 3), (0, 4)):
            place = nibabel.affines.apply_affine(theirs.affine, index)
            ours = tuple(np.rint(pixels.grid.index(place)).astype(int))
            assert np.abs(pixels.grid.position(ours) - place).max() < 1e-4
            assert pixels.array[ours] == values[index]
        assert (np.diag(pixels.grid.matrix[[2, 1, 0], :3]) * [1, -1, -1] > 0).all()
        assert pixels.grid.sides() == ("R", "L", "A", "P")
        assert pixels.grid == series.grid


def test_an_oblique_volume_lies_where_simpleitk_says(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 3000, (6, 7, 8)).astype(np.int16)
    _, pixels = read(saved(tmp_path / "a.nii.gz", values))
    theirs = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    for index in itertools.product((0, 5), (0, 6), (0, 3, 7)):
        x, y, z = theirs.TransformIndexToPhysicalPoint(index)  # LPS
        ours = pixels.grid.index([-x, -y, z])
        assert np.abs(ours - np.rint(ours)).max() < 1e-4
        assert pixels.array[tuple(np.rint(ours).astype(int))] == theirs.GetPixel(index)
    assert pixels.array.dtype == np.int16
    assert pixels.unit == "grey"


def test_scaled_values_are_scaled_and_said_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    raw = image.header.copy()
    with (tmp_path / "a.nii").open("wb") as file:  # by hand, so that nibabel does not choose its own scale
        raw["vox_offset"], raw["magic"] = 352, b"n+1"
        raw["scl_slope"], raw["scl_inter"] = 2.0, -1000.0
        file.write(raw.binaryblock + bytes(4) + np.arange(24, dtype="<i2").tobytes())
    _, pixels = read(tmp_path / "a.nii")
    assert pixels.array.dtype == np.float32
    assert (pixels.array.min(), pixels.array.max()) == (-1000.0, -954.0)
    assert pixels.steps[0] == "value = 2 * stored + -1000"


def test_big_endian_files_become_native(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(
        np.arange(24, dtype=">i2").reshape(2, 3, 4), np.eye(4), nibabel.Nifti1Header(endianness=">")
    )
    nibabel.save(image, tmp_path / "a.nii")
    _, pixels = read(tmp_path / "a.nii")
    assert pixels.array.dtype.isnative
    assert sorted(pixels.array.ravel()) == list(range(24))


def test_frames_lead_back_to_the_slices_of_the_file(tmp_path: Path) -> None:
    values = np.zeros((3, 4, 5), np.int16)
    values[:, :, 1] = 7
    series, pixels = read(saved(tmp_path / "down.nii", values, np.diag([1.0, 1.0, -2.0, 1.0])))
    (bright,) = {int(d) for d in np.nonzero(pixels.array)[0]}
    assert bright == 3
    assert series.source(bright)[1] == 1


def test_units_of_the_header_are_honoured(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.diag([500.0, 500.0, 2000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    series, _ = read(tmp_path / "a.nii")
    assert np.allclose(series.grid.spacing, (2.0, 0.5, 0.5))


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(np.ones((2, 3, 4), np.uint8), OBLIQUE), tmp_path / "two.nii")
    series, pixels = read(tmp_path / "two.nii")
    assert READER.recognises(Path("x"), (tmp_path / "two.nii").read_bytes()[:1024])
    assert pixels.array.shape == series.grid.shape
    place = nibabel.affines.apply_affine(OBLIQUE, [1, 2, 3])
    assert np.abs(series.grid.index(place) - np.rint(series.grid.index(place))).max() < 1e-4


def test_a_fourth_axis_of_one_is_no_axis(tmp_path: Path) -> None:
    _, pixels = read(saved(tmp_path / "a.nii", np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)))
    assert pixels.array.size == 24
    assert pixels.array.ndim == 3


def test_nothing_is_guessed_about_modality_or_anatomy(tmp_path: Path) -> None:
    series, _ = read(saved(tmp_path / "chest_ct.nii", np.zeros((2, 2, 2), np.int16)))
    assert (series.modality, series.facts, series.identifiers.patient_id) == ("", {}, "")


def refusal(path: Path) -> str:
    try:
        found = record(path)
        if found.series is not None:
            READER.pixels(found.series)
    except InputError as error:
        return error.code
    assert found.reason is not None
    return found.reason.code


def test_what_is_refused_or_skipped_and_why(tmp_path: Path) -> None:
    volume = np.zeros((4, 5, 6), np.int16)
    sheared = OBLIQUE.copy()
    sheared[:3, 2] += 0.3 * sheared[:3, 1]
    no_place = nibabel.Nifti1Image(volume, np.eye(4))
    no_place.set_sform(None, 0)
    no_place.set_qform(None, 0)
    nibabel.save(no_place, tmp_path / "no_place.nii")
    two_places = nibabel.Nifti1Image(volume, np.eye(4))
    two_places.set_sform(np.diag([-1.0, 1, 1, 1]), 1)
    two_places.set_qform(np.eye(4), 1)
    nibabel.save(two_places, tmp_path / "two_places.nii")
    labels = nibabel.Nifti1Image(volume, np.eye(4))
    labels.header.set_intent("label")
    nibabel.save(labels, tmp_path / "labels.nii")
    rgb = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    saved(tmp_path / "four.nii", np.zeros((4, 5, 6, 2), np.int16))
    saved(tmp_path / "two_axes.nii", np.zeros((4, 5), np.int16))
    saved(tmp_path / "rgb.nii", rgb)
    saved(tmp_path / "complex.nii", np.zeros((4, 5, 6), np.complex64))
    whole = saved(tmp_path / "whole.nii", np.random.default_rng(0).integers(0, 9, (9, 9, 9)).astype(np.int16))
    (tmp_path / "cut.nii").write_bytes(whole.read_bytes()[:-100])
    packed = gzip.compress(whole.read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(packed[:-100])
    damaged = bytearray(packed)
    damaged[-120:-60] = bytes(60)
    (tmp_path / "damaged.nii.gz").write_bytes(damaged)
    (tmp_path / "noise.nii").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "noise.nii.gz").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 8)
    (tmp_path / "short.nii").write_bytes(whole.read_bytes()[:100])
    sheared_image = nibabel.Nifti1Image(volume, None)
    sheared_image.set_sform(sheared, 1)
    nibabel.save(sheared_image, tmp_path / "sheared.nii")
    far = bytearray(whole.read_bytes())
    far[108:112] = np.float32(1e9).tobytes()
    (tmp_path / "far.nii.gz").write_bytes(gzip.compress(bytes(far)))
    found = {path.name: refusal(path) for path in sorted(tmp_path.glob("*.nii*")) if path.name != "whole.nii"}
    assert found == {
        "complex.nii": "photometric",
        "cut.nii": "truncated",
        "cut.nii.gz": "truncated",
        "damaged.nii.gz": "decode-failed",
        "far.nii.gz": "malformed",
        "four.nii": "mixed-times",
        "labels.nii": "segmentation",
        "no_place.nii": "no-geometry",
        "noise.nii": "malformed",
        "noise.nii.gz": "malformed",
        "rgb.nii": "photometric",
        "sheared.nii": "gantry-tilt",
        "short.nii": "malformed",
        "two_axes.nii": "empty",
        "two_places.nii": "no-geometry",
    }


def test_a_header_that_promises_too_much_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = saved(tmp_path / "huge.nii", np.zeros((2, 2, 2), np.int16))
    data = bytearray(path.read_bytes())
    data[40:56] = np.array([3, 32000, 32000, 32000, 1, 1, 1, 1], "<i2").tobytes()
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(bytes(data)))
    series = record(tmp_path / "huge.nii.gz").series
    assert series is not None
    with pytest.raises(BudgetError):
        READER.pixels(series)


def test_the_real_ct_lies_where_simpleitk_says(shared_data: Path) -> None:
    path = shared_data / "ct" / "ibsi_lung" / "image.nii.gz"
    _, pixels = read(path)
    theirs = SimpleITK.ReadImage(str(path))
    for index in ((0, 0, 0), (203, 200, 59), (100, 50, 30), (17, 180, 44)):
        x, y, z = theirs.TransformIndexToPhysicalPoint(index)
        ours = np.rint(pixels.grid.index([-x, -y, z])).astype(int)
        assert np.abs(pixels.grid.position(ours) - [-x, -y, z]).max() < 1e-3
        assert pixels.array[tuple(ours)] == theirs.GetPixel(index)
    assert isinstance(pixels.grid, Grid)
