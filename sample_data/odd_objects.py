"""DICOM that lies in every archive and is no image: a dose report and a directory. An intake skips both."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage, XRayRadiationDoseSRStorage

from sample_data.dicom import Patient, Series, Study, code, composite, save, uid


def write_dose_report(path: Path, patient: Patient, study: Study, *, series_number: int = 999) -> Path:
    """Write a short X-Ray Radiation Dose SR (PS3.3 A.35.8) of a CT study; the path."""
    series = Series(uid(study.uid, series_number), "SR", series_number, "Dose report")
    instance = uid(series.uid, 1)
    report = composite(XRayRadiationDoseSRStorage, instance, patient, study, series, 1)
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
    report.ValueType, report.ContinuityOfContent = "CONTAINER", "SEPARATE"
    report.ConceptNameCodeSequence = [code("113701", "DCM", "X-Ray Radiation Dose Report")]
    procedure = _item("CODE", code("121058", "DCM", "Procedure reported"), "HAS CONCEPT MOD")
    procedure.ConceptCodeSequence = [code("77477000", "SCT", "Computed Tomography X-Ray")]
    product = _item("NUM", code("113813", "DCM", "CT Dose Length Product Total"), "CONTAINS")
    value = Dataset()
    value.NumericValue = "212.4"
    value.MeasurementUnitsCodeSequence = [code("mGy.cm", "UCUM", "mGy.cm")]
    product.MeasuredValueSequence = [value]
    report.ContentSequence = [procedure, product]
    return save(report, path)


def _item(value_type: str, name: Dataset, relationship: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = relationship, value_type, [name]
    return item


def write_directory(path: Path) -> Path:
    """Write a DICOMDIR without records (PS3.3 F.3): valid, and of no use to anyone who looks for images."""
    directory = Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = MediaStorageDirectoryStorage, uid("directory")
    directory.FileSetID = "ARCHIVE"
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.FileSetConsistencyFlag = 0
    directory.DirectoryRecordSequence = []
    return save(directory, path)
