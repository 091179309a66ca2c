"""Shared modules: identifiers, ages, and bytes that depend on nothing but the arguments."""

import uuid
from pathlib import Path

import pydicom
from pydicom.uid import SecondaryCaptureImageStorage

from sample_data import dicom


def _dataset(patient: dicom.Patient, study: dicom.Study) -> pydicom.Dataset:
    series = dicom.Series(dicom.uid("series"), "OT", 3, "nothing")
    return dicom.composite(SecondaryCaptureImageStorage, dicom.uid("image"), patient, study, series, 7)


def test_a_uid_is_valid_repeatable_and_its_own() -> None:
    made = dicom.uid("study", 0, 1)
    assert made == dicom.uid("study", 0, 1)
    assert made.is_valid
    assert made.startswith("2.25.")
    assert len({dicom.uid("study", seed, number) for seed in range(20) for number in range(20)}) == 400
    # PS3.5 B.2 asks for a UUID behind 2.25, not for any number
    assert uuid.UUID(int=int(made.removeprefix("2.25."))).version == 5


def test_age_is_in_whole_years_at_the_study(patient: dicom.Patient) -> None:
    for date, age in (("20240202", "063Y"), ("20240203", "064Y")):  # born on 3 February 1960
        study = dicom.Study(dicom.uid("a"), "1", date, "101500", "x")
        assert _dataset(patient, study).PatientAge == age


def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path, patient: dicom.Patient, study: dicom.Study) -> None:
    first = dicom.save(_dataset(patient, study), tmp_path / "a" / "deep" / "file")
    second = dicom.save(_dataset(patient, study), tmp_path / "other.dcm")
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[:132] == bytes(128) + b"DICM"
    back = pydicom.dcmread(first)
    assert (back.PatientID, back.StudyInstanceUID, back.InstanceNumber) == ("P001", study.uid, 7)
