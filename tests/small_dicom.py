"""Small DICOM files by pydicom alone, with a bright block at a known place. Everything that could name a patient is
set to a word that is looked for elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

CANARY = "Zilpzalp"
"""Part of everything that names somebody."""

Block = tuple[slice, ...]


def scene(shape: Sequence[int], block: Block, seed: int = 0, bright: float = 3000.0) -> npt.NDArray[np.float64]:
    """Noise around 1000 with a bright block."""
    values = np.random.default_rng(seed).normal(1000, 20, shape)
    values[block] = bright
    return values


def dataset(sop_class: str, modality: str, study: str, series: str, **elements: object) -> Dataset:
    """What the three kinds have in common."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = sop_class, generate_uid(None)
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made.Modality, made.Manufacturer = modality, "medcam-toolkit"
    made.PatientName, made.PatientID = f"{CANARY}^Name", f"{CANARY}-ID"
    made.PatientBirthDate, made.PatientSex = "19010203", "F"
    made.AccessionNumber, made.StudyID = f"{CANARY}-ACC", f"{CANARY}-SID"
    made.StudyDate, made.StudyTime = "20240102", "101112"
    made.ReferringPhysicianName = made.OperatorsName = f"{CANARY}^Doctor"
    made.InstitutionName = made.StationName = f"{CANARY}"
    made.StudyDescription = made.SeriesDescription = made.ImageComments = f"{CANARY} described"
    made.BodyPartExamined = "CHEST"
    made.ImageType = ["ORIGINAL", "PRIMARY"]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.PixelRepresentation = 0
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def save(made: Dataset, values: npt.NDArray[np.generic], path: Path) -> Path:
    """Write one file, its pixels as they are."""
    made.Rows, made.Columns = values.shape[-2:]
    bits = values.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.add_new("PixelData", "OW" if bits == 16 else "OB", values.tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    FileDataset(path, made, file_meta=meta, preamble=b"\0" * 128).save_as(path, enforce_file_format=True)
    return path


def write_dx(
    path: Path,
    values: npt.NDArray[np.floating],
    *,
    spacing: tuple[float, float] = (0.8, 0.5),
    study: str = "",
    **elements: object,
) -> Path:
    """A chest X-ray, PA, of (H, W) grey values."""
    made = dataset(
        DigitalXRayImageStorageForPresentation, "DX", study or generate_uid(None), generate_uid(None), ViewPosition="PA"
    )
    made.ImagerPixelSpacing = list(spacing)
    made.PixelIntensityRelationshipSign, made.PresentationLUTShape = 1, "IDENTITY"
    made.PresentationIntentType, made.PatientOrientation = "FOR PRESENTATION", ["L", "F"]
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return save(made, np.clip(np.rint(values), 0, 4095).astype(np.uint16), path)


def write_ct(
    folder: Path,
    hounsfield: npt.NDArray[np.floating],
    *,
    spacing: tuple[float, float, float] = (4.0, 2.0, 1.5),
    origin: tuple[float, float, float] = (-60.0, -70.0, 100.0),
    study: str = "",
    series: str = "",
    **elements: object,
) -> list[Path]:
    """An axial chest CT of (D, H, W) HU; slice d lies at z = origin + d * spacing (LPS), files in shuffled order."""
    study, series, frame = study or generate_uid(None), series or generate_uid(None), generate_uid(None)
    paths = []
    for name, d in enumerate(np.random.default_rng(1).permutation(len(hounsfield))):
        made = dataset(CTImageStorage, "CT", study, series, **elements)
        made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.FrameOfReferenceUID, made.InstanceNumber = frame, int(d) + 1
        made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        made.ImagePositionPatient = [origin[0], origin[1], origin[2] + float(d) * spacing[0]]
        made.PixelSpacing, made.SliceThickness = list(spacing[1:]), spacing[0]
        made.RescaleSlope, made.RescaleIntercept = 1, -1024
        stored = np.clip(np.rint(hounsfield[d] + 1024), 0, 4095).astype(np.uint16)
        paths.append(save(made, stored, folder / f"{name:04d}"))
    return paths


def write_us(path: Path, frames: npt.NDArray[np.floating], *, frame_ms: float = 40.0, **elements: object) -> Path:
    """A lung ultrasound cine of (T, H, W) grey values in 0..255."""
    made = dataset(UltrasoundMultiFrameImageStorage, "US", generate_uid(None), generate_uid(None))
    made.BodyPartExamined = "LUNG"
    made.NumberOfFrames, made.FrameTime = len(frames), frame_ms
    made.FrameIncrementPointer = 0x00181063
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return save(made, np.clip(np.rint(frames), 0, 255).astype(np.uint8), path)
