"""The modules that every DICOM object of medcam shares (PS3.3): whose it is, where it belongs, what made it.

Without identifiers an object is pseudonymous: no name, the patient's key as Patient ID, new UIDs derived from keys.
All UIDs are derived from the content, so that writing the same report twice gives the same object, not a second one.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from medcam.findings import Case
from medcam.reports.base import DISCLAIMER, Context
from medcam.study import Identifiers

MANUFACTURER = "medcam-toolkit"
UNVERIFIED = "AI output, unverified"

PAIRED = {
    *("ANKLE", "ARM", "AXILLA", "BREAST", "CALCANEUS", "CALF", "CLAVICLE", "EAR", "ELBOW", "EYE", "FEMUR", "FIBULA"),
    *("FINGER", "FOOT", "FOREARM", "HAND", "HIP", "HUMERUS", "KIDNEY", "KNEE", "LEG", "LUNG", "OVARY", "PATELLA"),
    *("RADIUS", "SCAPULA", "SHOULDER", "TESTIS", "THIGH", "THUMB", "TIBIA", "TOE", "ULNA", "WRIST"),
}
"""Values of Body Part Examined that come in twos (PS3.16 Annex L): only these have a Laterality."""


def derived_uid(*parts: str) -> str:
    """A UID that is always the same for the same parts."""
    return str(generate_uid(entropy_srcs=["medcam-toolkit", *(f"\0{part}" for part in parts)]))


def common(case: Case, context: Context, sop_class: str, series: str, number: int) -> Dataset:
    """Patient, study, series, equipment and SOP common modules.

    Args:
        case: whose finding the object shows.
        context: with identifiers and source if the object is to land in the patient's own study.
        sop_class: UID of the object's SOP class.
        series: the description of the new series; objects with the same one share it.
        number: of the series.
    """
    made, ids = case.provenance, context.identifiers
    created = datetime.fromisoformat(made.created)
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 192"
    d.SOPClassUID = sop_class
    d.InstanceCreationDate, d.InstanceCreationTime = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    d.TimezoneOffsetFromUTC = "+0000"
    d.Modality = case.modality or "OT"
    d.Manufacturer = MANUFACTURER
    d.ManufacturerModelName = made.model
    d.SoftwareVersions = [made.medcam_version, made.model_version]
    d.StudyInstanceUID = study_uid(case, context)
    with config.disable_value_validation():  # names and numbers go out as they came in, or the study would not match
        _identify(d, case, ids)
    d.ReferringPhysicianName = ""
    d.SeriesInstanceUID = derived_uid(
        "series", d.StudyInstanceUID, case.key, made.pipeline_hash, made.model_hash, series
    )
    d.SeriesNumber = number
    d.SeriesDescription = series
    body_part = case.facts.get("BodyPartExamined", "").strip().upper()
    if re.fullmatch(r"[A-Z0-9 _]{1,16}", body_part):
        d.BodyPartExamined = body_part
    if "BodyPartExamined" not in d or body_part in PAIRED:
        side = case.facts.get("Laterality", "")
        d.Laterality = side if side in ("L", "R") else ""
    d.ContributingEquipmentSequence = Items([_algorithm(case)])
    return d


def _identify(d: Dataset, case: Case, ids: Identifiers | None) -> None:
    """Patient and general study modules: the source's, or pseudonyms."""
    d.PatientName = ids.patient_name if ids else ""
    d.PatientID = ids.patient_id if ids else case.patient_key
    d.PatientBirthDate = _date(ids.birth_date) if ids else ""
    d.PatientSex = ids.sex if ids and ids.sex in ("M", "F", "O") else ""
    if ids is None:
        d.PatientIdentityRemoved = "YES"
        d.DeidentificationMethod = "medcam-toolkit: pseudonyms, derived UIDs"
    d.StudyDate = _date(ids.study_date) if ids else ""
    d.StudyTime = ids.study_time if ids and re.fullmatch(r"\d{2,6}(\.\d{1,6})?", ids.study_time) else ""
    d.StudyID = _short(ids.study_id) if ids else ""
    d.AccessionNumber = _short(ids.accession_number) if ids else ""


def study_uid(case: Case, context: Context) -> str:
    """The source's study with identifiers, else one derived from the study's key."""
    uid = context.identifiers.study_uid if context.identifiers else ""
    return uid if is_uid(uid) else derived_uid("study", case.study_key)


def is_uid(text: str) -> bool:
    """Whether text from a header is a UID that may be written again."""
    return len(text) <= 64 and re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", text) is not None


def comments(case: Case, context: Context) -> str:
    """What a human must know who finds the object alone."""
    score = f"{case.prediction.score_name} {case.prediction.score:.3f}, threshold {case.prediction.threshold:.3f}"
    words = f"{UNVERIFIED}. {DISCLAIMER}. {case.finding}: {case.decision.text}; {score}."
    if context.identifiers is None:
        return f"{words} Pseudonymous object: the study UID is derived and is not the source's."
    if study_uid(case, context) != context.identifiers.study_uid:
        return f"{words} The source states no valid study UID; this one is derived."
    return words


def refer(d: Dataset, context: Context, indices: Sequence[int | None]) -> None:
    """Add the Source Image Sequence over array indices of the source; pseudonymous objects refer to nothing."""
    frames: dict[tuple[str, str], list[int]] = {}
    if context.source is not None:
        several = len({position for position, _ in context.source.frames}) < len(context.source.frames)
        for index in indices:
            file, frame = context.source.source(index or 0)
            if is_uid(file.sop_instance_uid) and is_uid(file.sop_class_uid):
                named = frames.setdefault((file.sop_class_uid, file.sop_instance_uid), [])
                named += [frame + 1] if several else []
    items = []
    for (sop_class, instance), numbers in frames.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        if numbers:
            item.ReferencedFrameNumber = numbers
        item.PurposeOfReferenceCodeSequence = Items(
            [code("121322", "DCM", "Source image for image processing operation")]
        )
        items.append(item)
    if items:
        d.SourceImageSequence = Items(items)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def save(d: Dataset, path: Path, transfer_syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file with an empty preamble; `d` has its SOP Instance UID."""
    d.file_meta = FileMetaDataset()
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.file_meta.TransferSyntaxUID = transfer_syntax
    with config.disable_value_validation():
        d.save_as(path, enforce_file_format=True)
    return path


def _algorithm(case: Case) -> Dataset:
    """Contributing Equipment: the model, told apart from any retraining by the hash of its weights."""
    item, made = Dataset(), case.provenance
    item.PurposeOfReferenceCodeSequence = Items([code("109102", "DCM", "Processing Equipment")])
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = made.model
    item.SoftwareVersions = [made.medcam_version, made.model_version]
    item.ContributionDescription = (
        f"{case.explanation.method} for {case.finding}, pipeline {made.pipeline}, weights SHA-256 {made.model_hash}"
    )
    return item


def _short(text: str) -> str:
    """Text that a Short String can hold; half a number would be worse than none."""
    return text if len(text) <= 16 else ""


def _date(text: str) -> str:
    return text if re.fullmatch(r"\d{8}", text) else ""
