"""The archive: complete, honest about itself, and readable by others."""

import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

from sample_data.archive import _entries, _write_study, write_archive

Archive = tuple[Path, dict[str, Any]]


def _header(out: Path, name: str) -> pydicom.Dataset:
    return pydicom.dcmread(out / "dicom" / name, stop_before_pixels=True)


def test_four_modalities_of_sixteen_patients_in_both_classes(archive: Archive) -> None:
    studies = archive[1]["studies"]
    assert len(studies) == 24
    assert len({study["patient_id"] for study in studies}) == 16
    by_modality = Counter(study["modality"] for study in studies)
    assert set(by_modality) == {"CT", "DX", "US", "SM"}
    for modality in by_modality:
        labels = Counter(study["label"] for study in studies if study["modality"] == modality)
        assert min(labels[0], labels[1]) >= 2
    several = Counter(study["patient_id"] for study in studies)
    assert sum(count > 1 for count in several.values()) >= 5
    assert len({study["study_uid"] for study in studies}) == len({study["series_uid"] for study in studies}) == 24


def test_every_file_is_accounted_for_once(archive: Archive) -> None:
    out, truth = archive
    named = [name for study in truth["studies"] for name in study["files"]]
    named += [row["file"] for study in truth["studies"] for row in study["skipped"]]
    named += [row["file"] for row in truth["skipped"]]
    there = [path.relative_to(out / "dicom").as_posix() for path in (out / "dicom").rglob("*") if path.is_file()]
    assert sorted(named) == sorted(there)
    assert {Path(name).suffix for name in named} >= {"", ".dcm", ".txt"}


def test_headers_agree_with_the_truth_and_give_no_label_away(archive: Archive) -> None:
    out, truth = archive
    for study in truth["studies"]:
        for name in study["files"][:2]:
            header = _header(out, name)
            assert header.PatientID == study["patient_id"]
            assert header.StudyInstanceUID == study["study_uid"]
            assert header.SeriesInstanceUID == study["series_uid"]
            assert header.Modality == study["dicom_modality"]
            words = f"{header.StudyDescription} {header.SeriesDescription} {name}".lower()
            assert not any(
                word in words for word in ("sick", "healthy", "nodule", "opacity", "tumour", "lesion", "normal")
            )
    descriptions = defaultdict(set)
    for study in truth["studies"]:
        if study["expected"]["status"] == "used":
            descriptions[study["dicom_modality"]].add(_header(out, study["files"][0]).StudyDescription)
    assert all(len(words) == 1 for words in descriptions.values())


def test_masks_boxes_and_labels_agree(archive: Archive) -> None:
    out, truth = archive
    for study in truth["studies"]:
        assert (study["mask"] is not None) == bool(study["label"]) == bool(study["lesions"])
        if study["mask"] is None:
            continue
        mask = np.load(out / study["mask"])
        assert list(mask.shape) == study["shape"]
        boxed = np.zeros_like(mask)
        for lesion in study["lesions"]:
            box = lesion["box_index"]
            inside = tuple(slice(low, high) for low, high in zip(box["start"], box["stop"], strict=True))
            assert mask[inside].any()
            boxed[inside] = True
            for name in ("start", "stop"):
                indices, millimetres = box[name][-len(study["spacing_mm"]) :], lesion["box_mm"][name]
                expected = np.multiply(indices, study["spacing_mm"])
                assert np.allclose([mm for mm in millimetres if mm is not None], expected)
            for frame, part in enumerate(lesion.get("boxes_by_frame", [])):
                if part:
                    (top, left), (bottom, right) = part["start"], part["stop"]
                    assert mask[frame, top:bottom, left:right].any()
        assert not (mask & ~boxed).any()
    assert sorted(path.name for path in (out / "truth").iterdir()) == sorted(
        Path(study["mask"]).name for study in truth["studies"] if study["mask"]
    )


def test_an_independent_reader_finds_ct_lesions_at_their_lps_place(archive: Archive) -> None:
    out, truth = archive
    found = 0
    for study in truth["studies"]:
        if study["modality"] != "CT" or not study["label"] or study["expected"]["status"] != "used":
            continue
        paths = {path: _header(out, path) for path in study["files"]}
        ordered = sorted(paths, key=lambda name: float(paths[name].SliceLocation))
        image = SimpleITK.ReadImage([str(out / "dicom" / name) for name in ordered])
        mask = SimpleITK.GetImageFromArray(np.load(out / study["mask"]).astype(np.uint8))
        mask.CopyInformation(image)
        for lesion in study["lesions"]:
            at = mask.TransformPhysicalPointToIndex(lesion["centre_lps_mm"])
            assert mask[at] == 1
            low, high = (np.array(lesion["box_lps_mm"][name]) for name in ("start", "stop"))
            assert (low < lesion["centre_lps_mm"]).all()
            assert (lesion["centre_lps_mm"] < high).all()
            assert (high - low >= 0.6 * np.array(lesion["size_mm"])).all()
            found += 1
    assert found >= 3


def test_what_must_be_refused_is_really_at_fault(archive: Archive) -> None:
    out, truth = archive
    refused = {
        study["expected"]["reason"]: study for study in truth["studies"] if study["expected"]["status"] == "refused"
    }
    assert set(refused) == {"missing slices", "lateral view", "anatomy and view not stated"}
    heights = sorted(float(_header(out, name).SliceLocation) for name in refused["missing slices"]["files"])
    gaps = np.diff(heights)
    assert np.isclose(gaps.max(), 2 * np.median(gaps), atol=1e-3)
    assert (np.abs(gaps - np.median(gaps)) > 1e-3).sum() == 1
    assert _header(out, refused["lateral view"]["files"][0]).ViewPosition == "LL"
    unstated = _header(out, refused["anatomy and view not stated"]["files"][0])
    assert not {"BodyPartExamined", "ViewPosition", "AnatomicRegionSequence", "ViewCodeSequence"} & set(unstated.dir())
    assert "chest" not in str(unstated).lower()
    used = [study for study in truth["studies"] if study["expected"]["status"] == "used"]
    for study in used:
        header = _header(out, study["files"][0])
        if study["modality"] == "CT":
            steps = np.diff(sorted(float(_header(out, name).SliceLocation) for name in study["files"]))
            assert np.allclose(steps, steps[0], atol=1e-3)
        if study["modality"] in ("CT", "DX"):
            assert header.BodyPartExamined == "CHEST"


def test_what_must_be_skipped_is_no_image_of_its_series(archive: Archive) -> None:
    out, truth = archive
    reasons = {row["reason"] for row in truth["skipped"]}
    assert reasons == {"not DICOM", "directory, not an image", "structured report, not an image"}
    report = _header(out, "PAT002/0001/DOSE")
    assert report.Modality == "SR"
    scanned = next(study for study in truth["studies"] if study["folder"] == "PAT002/0001")
    assert report.StudyInstanceUID == scanned["study_uid"]
    localizers = [row for study in truth["studies"] for row in study["skipped"]]
    assert len(localizers) == 2
    for row in localizers:
        assert _header(out, row["file"]).ImageType[2] == "LOCALIZER"


def test_a_patient_has_one_body_and_one_birthday(archive: Archive) -> None:
    out, truth = archive
    born = defaultdict(set)
    for study in truth["studies"]:
        header = _header(out, study["files"][0])
        born[header.PatientID].add((header.PatientBirthDate, header.PatientSex, str(header.PatientName)))
    assert all(len(identity) == 1 for identity in born.values())


def test_every_object_is_valid_dicom(archive: Archive, dicom_errors: Callable[[Path], list[str]]) -> None:
    out, truth = archive
    names = ["DICOMDIR", "PAT002/0001/DOSE"]
    for study in truth["studies"]:
        names += [row["file"] for row in study["skipped"]]
        if study["expected"]["reason"] != "anatomy and view not stated":
            names.append(study["files"][0])
    for name in names:
        assert (name, dicom_errors(out / "dicom" / name)) == (name, [])


def test_the_same_seed_gives_the_same_bytes(archive: Archive, tmp_path: Path) -> None:
    out, truth = archive
    entries = _entries()
    (tmp_path / "truth").mkdir()
    for number in (
        1,
        2,
        11,
        17,
    ):  # an oblique CT and three X-rays stand for the rest, whose modules have their own test
        row = _write_study(tmp_path, 0, number, entries[number - 1])
        assert row == truth["studies"][number - 1]
        for name in row["files"]:
            assert (tmp_path / "dicom" / name).read_bytes() == (out / "dicom" / name).read_bytes()
        if row["mask"]:
            assert (tmp_path / row["mask"]).read_bytes() == (out / row["mask"]).read_bytes()


def test_a_folder_with_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        write_archive(tmp_path)
    told = subprocess.run(
        [sys.executable, "-m", "sample_data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert "not empty" in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
