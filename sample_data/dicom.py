"""The DICOM modules that all the phantoms share, and deterministic writing: same arguments, same bytes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

_NAMESPACE = uuid.UUID("6d656463-616d-5061-8a6e-746f6d730001")


@dataclass(frozen=True)
class Patient:
    """Patient module (PS3.3 C.7.1.1). `birth_date` is YYYYMMDD, `sex` M, F or O; `name` a DICOM person name."""

    id: str
    name: str
    sex: str
    birth_date: str


@dataclass(frozen=True)
class Study:
    """General Study module (PS3.3 C.7.2.1). `date` is YYYYMMDD, `time` HHMMSS, `id` at most 16 characters."""

    uid: str
    id: str
    date: str
    time: str
    description: str
    accession_number: str = ""


@dataclass(frozen=True)
class Series:
    """General Series module (PS3.3 C.7.3.1); the modality is the DICOM code, for instance CT, DX, US, SM, SR."""

    uid: str
    modality: str
    number: int
    description: str


def uid(*parts: object) -> UID:
    """A UID that depends on `parts` alone (2.25 form of a name-based UUID, PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(part) for part in parts)).int}")


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def composite(
    sop_class: str, sop_instance: str, patient: Patient, study: Study, series: Series, number: int
) -> Dataset:
    """A dataset with the Patient, General Study, General Series, General Equipment and SOP Common modules filled in.

    `number` becomes the InstanceNumber. Acquisition and content times are the study's; the caller adds the image
    modules.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_instance

    dataset.PatientName, dataset.PatientID = patient.name, patient.id
    dataset.PatientBirthDate, dataset.PatientSex = patient.birth_date, patient.sex
    # ages at study are whole years
    years = int(study.date[:4]) - int(patient.birth_date[:4]) - (study.date[4:] < patient.birth_date[4:])
    dataset.PatientAge = f"{years:03d}Y"

    dataset.StudyInstanceUID, dataset.StudyID = study.uid, study.id
    dataset.StudyDate, dataset.StudyTime = study.date, study.time
    dataset.StudyDescription, dataset.AccessionNumber = study.description, study.accession_number
    dataset.ReferringPhysicianName = ""

    dataset.Modality, dataset.SeriesInstanceUID = series.modality, series.uid
    dataset.SeriesNumber, dataset.SeriesDescription = series.number, series.description
    dataset.SeriesDate, dataset.SeriesTime = study.date, study.time

    dataset.Manufacturer, dataset.ManufacturerModelName = "medcam-toolkit", "sample_data"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "1", "1"
    dataset.InstitutionName = "Phantom archive"

    dataset.InstanceNumber = number
    dataset.AcquisitionDate = dataset.ContentDate = study.date
    dataset.AcquisitionTime = dataset.ContentTime = study.time
    return dataset


def save(dataset: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file, making its folder; the bytes depend on the dataset alone.

    Pixel data must already be in the form that `transfer_syntax` asks for.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid("implementation"), "SAMPLE_DATA_1"
    path.parent.mkdir(parents=True, exist_ok=True)
    FileDataset(path, dataset, file_meta=meta, preamble=b"\0" * 128).save_as(path, enforce_file_format=True)
    return path
