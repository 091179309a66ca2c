"""A folder such as a hospital would hand over: 24 studies of 16 patients, odd files among them, the truth beside it.

`OUT/dicom` holds what a reader may see; `OUT/truth.json` and `OUT/truth/*.npy` (lesion masks) what it must not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from sample_data import dicom
from sample_data.phantom import Lesion, Phantom, stream
from sample_data.thorax import Thorax

_MISSING, _LATERAL, _UNSTATED = "missing slices", "lateral view", "anatomy and view not stated"


@dataclass(frozen=True)
class Entry:
    """One study: whose, where, which generator, sick or not; `how` goes to its `write`; `refused` is the reason why."""

    patient: int
    modality: str
    folder: str
    sick: bool = False
    how: dict[str, Any] = field(default_factory=dict)
    refused: str = ""


def _entries() -> list[Entry]:
    """The table of contents. Labels do not follow from folder, file name, encoding, view or patient."""
    from sample_data.chest_ct import Habits

    return [
        Entry(1, "CT", "PAT001/ST0001/SE0001", True, {"tilt": (5, "x"), "habits": Habits()}),
        Entry(1, "DX", "PAT001/ST0002", True),
        Entry(2, "CT", "PAT002/0001", False, {"habits": Habits(extension="", localizer=True)}),
        Entry(2, "US", "PAT002/0002", True, {"encoding": "rgb"}),
        Entry(3, "CT", "export/2024/3/ct", True, {"tilt": (-7, "z"), "habits": Habits(signed=True, extension="")}),
        Entry(3, "DX", "export/2024/3/dx", False, {"name": "1"}),
        Entry(4, "CT", "PAT004/ST0001/SE0001", False, {"habits": Habits(varying_intercept=True)}),
        Entry(4, "US", "PAT004/ST0002", False, {"encoding": "jpeg"}),
        Entry(5, "CT", "export/2023/5/a/b/c/d", True, {"tilt": (4, "y"), "habits": Habits(localizer=True)}),
        Entry(6, "CT", "PAT006", False, {"tilt": (-3, "x"), "habits": Habits(signed=True, shuffled=False)}),
        Entry(6, "DX", "PAT006", False, {"inverted": True, "name": "DX.dcm"}),
        Entry(7, "CT", "PAT007/ST0001", True, {"habits": Habits(omitted=(23,))}, _MISSING),
        Entry(8, "DX", "PAT008/cr", True, {"inverted": True, "name": "IMAGE"}),
        Entry(8, "US", "PAT008/us", True, {"encoding": "jpeg"}),
        Entry(9, "DX", "export/2024/9", True),
        Entry(9, "SM", "export/2024/9/path", False, {"encoding": "rgb"}),
        Entry(10, "DX", "PAT010", False, {"name": "00000001"}),
        Entry(11, "US", "PAT011/ST0001", False, {"encoding": "rgb"}),
        Entry(12, "DX", "PAT012/ST0001", False, {}, _LATERAL),
        Entry(13, "DX", "PAT013", True, {}, _UNSTATED),
        Entry(14, "SM", "PAT014/path", True, {"encoding": "jpeg"}),
        Entry(15, "SM", "PAT015", False, {"encoding": "jpeg"}),
        Entry(15, "US", "PAT015/lung", True, {"encoding": "monochrome"}),
        Entry(16, "WSI", "PAT016/slide", True, {"encoding": "jpeg"}),
    ]


def write_archive(out: Path, seed: int = 0, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Write the archive into the new or empty folder `out` and return its truth, the content of truth.json.

    Same `seed`, same bytes. `progress` is told each study's folder. FileExistsError if `out` has content.
    """
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    (out / "truth").mkdir()
    studies = []
    for number, entry in enumerate(_entries(), start=1):
        if progress:
            progress(entry.folder)
        studies.append(_write_study(out, seed, number, entry))
    truth = {"seed": seed, "root": "dicom", "studies": studies, "skipped": _write_odd_files(out / "dicom", seed)}
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return truth


def _case(seed: int, patient: int) -> int:
    """The phantoms' seed: a patient has one body, whatever it is looked at with."""
    return 1000 * seed + patient


def _patient(seed: int, number: int) -> dicom.Patient:
    rng = stream(seed, f"patient {number}")
    born = f"{rng.integers(1938, 1996)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    return dicom.Patient(f"P{number:03d}", f"Phantom^P{number:03d}", Thorax.of_seed(_case(seed, number)).sex, born)


def _study(seed: int, number: int, description: str) -> dicom.Study:
    rng = stream(seed, f"study {number}")
    date = f"2024{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    time = f"{rng.integers(7, 19):02d}{rng.integers(0, 60):02d}{rng.integers(0, 60):02d}"
    return dicom.Study(dicom.uid("study", seed, number), str(number), date, time, description, f"A{number:05d}")


def _write_study(out: Path, seed: int, number: int, entry: Entry) -> dict[str, Any]:
    """One study's files, its mask, and its row of the truth."""
    patient = _patient(seed, entry.patient)
    study = _study(seed, number, {"CT": "CT chest", "DX": "X-ray chest", "US": "US lung"}.get(entry.modality, "Biopsy"))
    folder = out / "dicom" / entry.folder
    phantom, paths, places = _generate(_case(seed, entry.patient), entry, folder, patient, study)
    header = pydicom.dcmread(paths[0], stop_before_pixels=True)
    mask = f"truth/study-{number:02d}.npy" if phantom.label else None
    if mask:
        np.save(out / mask, phantom.mask)
    skipped = [path for path in paths if "LOCALIZER" in pydicom.dcmread(path, stop_before_pixels=True).ImageType]
    return {
        "folder": entry.folder,
        "files": [path.relative_to(out / "dicom").as_posix() for path in paths if path not in skipped],
        "modality": phantom.modality,
        "dicom_modality": str(header.Modality),
        "patient_id": patient.id,
        "study_uid": study.uid,
        "series_uid": str(header.SeriesInstanceUID),
        "label": phantom.label,
        "shape": list(phantom.mask.shape),
        "spacing_mm": list(phantom.spacing),
        "view": phantom.view,
        "distractors": list(phantom.distractors),
        "lesions": [_lesion(lesion, phantom, places) for lesion in phantom.lesions],
        "mask": mask,
        "expected": {"status": "refused" if entry.refused else "used", "reason": entry.refused},
        "skipped": [
            {"file": path.relative_to(out / "dicom").as_posix(), "reason": "localizer"} for path in skipped
        ],
    }  # fmt: skip


def _generate(
    case: int, entry: Entry, folder: Path, patient: dicom.Patient, study: dicom.Study
) -> tuple[Phantom, list[Path], Any]:
    """The phantom of an entry, the files it became and, for a CT, where its array lies."""
    from sample_data import chest_ct, chest_xray, histology, lateral_xray, lung_ultrasound

    how = dict(entry.how)
    if entry.modality == "CT":
        phantom = chest_ct.phantom(case, entry.sick)
        centre = stream(case, "table position").uniform((-12, -190, -400), (12, -150, -200))
        places = chest_ct.Geometry.of(phantom, *how.pop("tilt", (0.0, "x")), centre=np.round(centre, 2))
        return phantom, chest_ct.write(phantom, folder, patient, study, geometry=places, **how), places
    if entry.modality == "US":
        cine = lung_ultrasound.phantom(case, entry.sick)
        return cine, lung_ultrasound.write(cine, folder, patient, study, **how), None
    if entry.modality == "SM":
        phantom = histology.phantom(case, entry.sick)
        return phantom, histology.write(phantom, folder, patient, study, **how), None
    if entry.modality == "WSI":
        phantom = histology.slide(case, entry.sick)
        return phantom, histology.write_slide(phantom, folder, patient, study, **how), None
    phantom = lateral_xray.phantom(case) if entry.refused == _LATERAL else chest_xray.phantom(case, entry.sick)
    paths = chest_xray.write(phantom, folder, patient, study, **how)
    if entry.refused == _UNSTATED:
        _forget(paths[0], "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "ViewCodeSequence")
    return phantom, paths, None


def _forget(path: Path, *keywords: str) -> None:
    """Rewrite a file without these attributes, and without words elsewhere that would give them away."""
    dataset = pydicom.dcmread(path)
    for keyword in keywords:
        delattr(dataset, keyword)
    dataset.StudyDescription = dataset.SeriesDescription = ""
    dicom.save(dataset, path)


def _lesion(lesion: Lesion, phantom: Phantom, places: Any) -> dict[str, Any]:
    """One lesion for truth.json: array order (index and mm from the array's corner), and LPS mm for a CT."""
    start, stop = lesion.box
    spacing = phantom.spacing if len(phantom.spacing) == len(start) else (None, *phantom.spacing)  # a cine has frames
    row: dict[str, Any] = {
        "kind": lesion.kind,
        "size_mm": round(lesion.size_mm, 6),
        "centre_index": [round(value, 4) for value in lesion.centre],
        "box_index": {"start": list(start), "stop": list(stop)},
        "box_mm": {
            name: [None if mm is None else round(index * mm, 6) for index, mm in zip(corner, spacing, strict=True)]
            for name, corner in (("start", start), ("stop", stop))
        },
    }
    track = getattr(lesion, "boxes", ())
    if track:
        row["boxes_by_frame"] = [box and {"start": list(box[0]), "stop": list(box[1])} for box in track]
    if places is not None:
        # voxel i covers i - 0.5 to i + 0.5; an oblique box gets the upright box around it
        corners = [places.lps([index - 0.5 for index in corner]) for corner in product(*zip(start, stop, strict=True))]
        row["centre_lps_mm"] = [round(value, 4) for value in places.lps(lesion.centre)]
        row["box_lps_mm"] = {
            "start": [round(min(axis), 4) for axis in zip(*corners, strict=True)],
            "stop": [round(max(axis), 4) for axis in zip(*corners, strict=True)],
        }
    return row


def _write_odd_files(root: Path, seed: int) -> list[dict[str, str]]:
    """What lies in an archive beside its images; each with the reason to skip it."""
    from sample_data.odd_objects import write_directory, write_dose_report

    write_directory(root / "DICOMDIR")
    (root / "README.TXT").write_text("Exported for research. No patient in here ever lived.\n", encoding="ascii")
    (root / "PAT001" / "notes.txt").write_text("second look at the CT please\n", encoding="ascii")
    scanned = [entry.folder for entry in _entries()].index("PAT002/0001") + 1
    write_dose_report(root / "PAT002/0001/DOSE", _patient(seed, 2), _study(seed, scanned, "CT chest"))
    reasons = {
        "DICOMDIR": "directory, not an image",
        "README.TXT": "not DICOM",
        "PAT001/notes.txt": "not DICOM",
        "PAT002/0001/DOSE": "structured report, not an image",
    }
    return [{"file": name, "reason": reason} for name, reason in reasons.items()]
