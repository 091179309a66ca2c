"""The intake of a folder: every file once, with its fate; the same again from the cache; bad folders in one sentence."""

import json
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medcam.errors import UsageError
from medcam.readers import index
from medcam.readers._cache import Cache
from medcam.readers._facts import Facts, Pool
from medcam.readers.base import Header
from medcam.study import FileRecord, Intake, Reason


def ct_slice(path: Path, number: int, series: str, study: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = pydicom.Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.StudyInstanceUID, image.FrameOfReferenceUID = series, study, study
    image.Modality, image.PatientID, image.PatientName = "CT", "MRN-77", "Planted^Name"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.Rows = image.Columns = 8
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 1, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelSpacing, image.SliceThickness = [0.7, 0.7], 2
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [-3, -4, 2.0 * number]
    image.RescaleIntercept, image.RescaleSlope, image.InstanceNumber = -1024, 1, number + 1
    image.PixelData = np.full((8, 8), number, dtype="<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A CT series over two folders without suffixes, a NIfTI, pictures, and what is no image."""
    root = tmp_path / "archive"
    series, study = generate_uid(), generate_uid()
    for number in range(6):
        ct_slice(root / "a" / ("deep" if number % 2 else "deeper/still") / f"{5 - number:03d}", number, series, study)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), root / "brain.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)), root / "perfusion.nii")
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(root / "picture.dat", format="PNG")
    (root / "notes.txt").write_text("nothing to see")
    (root / "empty.dcm").write_bytes(b"")
    (root / "a" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (root / "z").symlink_to(root / "a")
    (root / "link.png").symlink_to(root / "picture.dat")
    (root / "z_cable").mkdir()
    os.mkfifo(root / "z_cable" / "pipe.dcm")
    return root


def fates(intake: Intake, root: Path) -> dict[str, str]:
    return {
        str(Path(file.path).relative_to(root)): file.status if file.reason is None else file.reason.code
        for file in intake.files
    }


def test_every_file_appears_once_with_its_fate(archive: Path) -> None:
    intake = index(archive)
    found = fates(intake, archive)
    assert len(found) == len(intake.files)
    slices = {name: fate for name, fate in found.items() if name[-3:].isdigit()}
    assert set(slices.values()) == {"used"}
    assert len(slices) == 6
    assert {name: fate for name, fate in found.items() if name not in slices} == {
        "a/DICOMDIR": "no-pixels",
        "brain.nii.gz": "used",
        "broken.png": "malformed",
        "empty.dcm": "empty",
        "link.png": "symbolic-link",
        "notes.txt": "not-an-image",
        "perfusion.nii": "mixed-times",
        "picture.dat": "used",
        "z": "symbolic-link",
        "z_cable/pipe.dcm": "not-an-image",
    }
    assert Counter(series.kind for series in intake.used) == {"volume": 2, "image": 1}
    (ct,) = (series for series in intake.used if series.modality == "CT")
    assert len(ct.files) == 6
    assert intake.counts()["files"] == {"used": 8, "skipped": 5, "refused": 3}


def test_the_same_folder_gives_the_same_intake_with_any_number_of_workers(archive: Path) -> None:
    one, two = index(archive, workers=1), index(archive, workers=2)
    assert one == two
    assert Intake.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_the_cache_answers_for_unchanged_files_only(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "headers.sqlite"
    first = index(archive, cache=cache)
    if os.name == "posix":
        assert cache.stat().st_mode & 0o077 == 0
    with sqlite3.connect(cache) as table:  # a mark that only the cache can have left
        table.execute("UPDATE headers_1 SET plain = replace(plain, 'MRN-77', 'CACHED')")
    table.close()
    again = index(archive, cache=cache)
    assert fates(again, archive) == fates(first, archive)
    assert {series.identifiers.patient_id for series in again.used if series.modality == "CT"} == {"CACHED"}
    for path in archive.rglob("00*"):
        os.utime(path, ns=(1, 1))
    fresh = index(archive, cache=cache)
    assert {series.identifiers.patient_id for series in fresh.used if series.modality == "CT"} == {"MRN-77"}


def test_other_readers_do_not_believe_an_old_cache(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "headers.sqlite"
    index(archive, cache=cache)
    with sqlite3.connect(cache) as table:
        table.execute("UPDATE headers_1 SET readers = 'older', plain = 'nonsense'")
    table.close()
    assert fates(index(archive, cache=cache), archive)["brain.nii.gz"] == "used"


@pytest.mark.parametrize(
    "damage", [b"not a database at all, but long enough to be taken for one" * 40, b"SQLite format 3\0"]
)
def test_a_damaged_cache_is_made_anew(archive: Path, tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "headers.sqlite"
    cache.write_bytes(damage)
    first = index(archive, cache=cache)
    assert index(archive, cache=cache) == first
    with sqlite3.connect(cache) as table:
        assert table.execute("SELECT count(*) FROM headers_1").fetchone()[0] > 5
    table.close()


def test_a_cache_damaged_in_the_middle_costs_no_file(archive: Path, tmp_path: Path) -> None:
    cache = tmp_path / "headers.sqlite"
    expected = index(archive, cache=cache)
    data = bytearray(cache.read_bytes())
    data[4096:8192] = os.urandom(4096)
    cache.write_bytes(data)
    assert index(archive, cache=cache) == expected


def test_a_cache_that_cannot_be_written_is_done_without(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert index(archive, cache=tmp_path / "file" / "headers.sqlite").counts()["files"]["used"] == 8


def test_passing_trouble_is_not_remembered(tmp_path: Path) -> None:
    with Cache(tmp_path / "c.sqlite") as cache:
        cache.put("a", 1, 1, FileRecord("a", "refused", Reason("timeout")))
        cache.put("b", 1, 1, FileRecord("b", "refused", Reason("malformed", "x")))
    with Cache(tmp_path / "c.sqlite") as cache:
        assert cache.get("a", 1, 1) is None
        assert cache.get("b", 1, 1) == FileRecord("b", "refused", Reason("malformed", "x"))
        assert cache.get("b", 2, 1) is None


def test_a_file_instead_of_a_folder(archive: Path) -> None:
    intake = index(archive / "picture.dat")
    assert [file.status for file in intake.files] == ["used"]
    assert intake.used[0].grid.shape == (9, 7)


def test_left_out_folders_and_the_cache_itself_are_not_indexed(archive: Path) -> None:
    cache = archive / "headers.sqlite"
    intake = index(archive, cache=cache, without=[archive / "a"])
    again = index(archive, cache=cache, without=[archive / "a"])
    assert intake == again
    assert not any("/a/" in file.path or "headers.sqlite" in file.path for file in intake.files)


def test_progress_ends_at_the_number_of_files(archive: Path) -> None:
    seen: list[tuple[int, int]] = []
    index(archive, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder") as refusal:
        index(tmp_path / "missing")
    assert refusal.value.code == "no-folder"


def test_an_empty_folder_is_an_empty_intake(tmp_path: Path) -> None:
    assert index(tmp_path).files == ()


@pytest.fixture
def somebody_else() -> Iterator[None]:
    """Root may open everything, so root becomes nobody for a while."""
    if os.name != "posix":
        pytest.skip("needs permissions of a POSIX system")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_folders_that_may_not_be_opened(somebody_else: None) -> None:
    with tempfile.TemporaryDirectory() as name:
        for part in ("closed", "open/closed"):
            (Path(name) / part).mkdir(parents=True)
            (Path(name) / part).chmod(0)
        with pytest.raises(UsageError, match="Permission denied") as refusal:
            index(Path(name) / "closed")
        assert refusal.value.code == "unreadable-folder"
        (record,) = index(Path(name) / "open").files
        assert str(record.reason) == "unreadable: Permission denied"
        for part in ("closed", "open/closed"):
            (Path(name) / part).chmod(0o700)


def test_facts_share_their_names_and_equal_values() -> None:
    pool = Pool()
    first, second = (pool.facts({"Modality": "".join(["C", "T"]), "Rows": rows}) for rows in (1, 2))
    assert dict(first) == {"Modality": "CT", "Rows": 1}
    assert first["Modality"] is second["Modality"]
    assert first == {"Modality": "CT", "Rows": 1}
    assert second.get("Missing") is None
    assert "CT" not in repr(first)
    assert isinstance(first, Facts)
    assert Header("p", 1, 2, "dicom", first).to_dict()["facts"] == {"Modality": "CT", "Rows": 1}


def test_real_files_all_get_a_fate_twice_the_same(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom"
    start = time.perf_counter()
    first = index(folder, cache=tmp_path / "c.sqlite")
    between = time.perf_counter()
    second = index(folder, cache=tmp_path / "c.sqlite")
    assert first == second
    assert time.perf_counter() - between < between - start
    everything = {str(path) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}
    assert {file.path for file in first.files} == everything
    assert len(first.files) == len(everything)
    assert first.counts()["files"]["used"] > 100
    claimed = Counter(path for series in first.used for path in (file.path for file in series.files))
    assert set(claimed) == {file.path for file in first.files if file.status == "used"}
