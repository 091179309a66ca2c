"""Small synthetic DICOM files and series, sound or broken on purpose."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from medcam.readers.base import Header
from medcam.readers.dicom import Dicom
from medcam.study import Pixels, SeriesRecord

AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
ROWS, COLUMNS = 4, 6
ROW_MM, COLUMN_MM = 0.5, 0.8

Edit = Callable[[Dataset, int], None]


def item(**elements: object) -> Items:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return Items([dataset])


def image(sop_class: str, values: npt.NDArray[np.generic], **elements: object) -> Dataset:
    """An image object of stored `values` (H, W), (T, H, W), or with a last axis of 3 if SamplesPerPixel is 3."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName = "Z-1", "Planted^Name"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SamplesPerPixel = elements.get("SamplesPerPixel", 1)
    dataset.PhotometricInterpretation = "MONOCHROME2"
    space = values.shape[:-1] if dataset.SamplesPerPixel == 3 else values.shape
    dataset.Rows, dataset.Columns = space[-2:]
    if len(space) == 3:
        dataset.NumberOfFrames = space[0]
    dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    dataset["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write as a DICOM file of `transfer_syntax`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def ct_series(
    folder: Path,
    positions: Sequence[Sequence[float]] = tuple((0.0, 0.0, 2.0 * z) for z in range(6)),
    orientation: Sequence[float] = AXIAL,
    edit: Edit | None = None,
) -> list[Path]:
    """A CT series with a slice at each position (LPS mm); slice i holds the stored value 10 * i, in HU 10 * i - 1024.

    `edit(dataset, i)` may change a slice before it is written.
    """
    shared = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
    }
    paths = []
    for number, position in enumerate(positions):
        values = np.full((ROWS, COLUMNS), 10 * number, np.uint16)
        dataset = image(CTImageStorage, values, Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], **shared)
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = list(position), list(orientation)
        dataset.PixelSpacing, dataset.SliceThickness = [ROW_MM, COLUMN_MM], 2
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        if edit is not None:
            edit(dataset, number)
        paths.append(save(dataset, folder / f"{number:03d}"))
    return paths


def enhanced_ct(positions: Sequence[Sequence[float]], values: npt.NDArray[np.generic], **elements: object) -> Dataset:
    """An enhanced CT object with a frame at each position; frame i is rescaled with slope i + 1 and intercept -i."""
    dataset = image(EnhancedCTImageStorage, values, Modality="CT", FrameOfReferenceUID="2.25.7")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[ROW_MM, COLUMN_MM], SliceThickness=2),
        PlaneOrientationSequence=item(ImageOrientationPatient=list(AXIAL)),
        FrameAnatomySequence=item(AnatomicRegionSequence=item(CodeMeaning="Chest")),
        FrameVOILUTSequence=item(WindowCenter=40, WindowWidth=400),
    )
    frames = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=list(position)),
            PixelValueTransformationSequence=item(RescaleSlope=n + 1, RescaleIntercept=-n, RescaleType="HU"),
            FrameContentSequence=item(StackID="1", TemporalPositionIndex=1),
        )[0]
        for n, position in enumerate(positions)
    ]
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def radiograph(values: npt.NDArray[np.generic], **elements: object) -> Dataset:
    """A digital X-ray."""
    return image(DigitalXRayImageStorageForPresentation, values, Modality="DX", **elements)


def ultrasound(values: npt.NDArray[np.generic], **elements: object) -> Dataset:
    """An ultrasound image, or a cine if there are frames."""
    samples = elements.get("SamplesPerPixel", 1)
    moving = values.ndim - int(samples == 3) == 3
    sop_class = UltrasoundMultiFrameImageStorage if moving else UltrasoundImageStorage
    return image(sop_class, values, Modality="US", **elements)


def headers(paths: Sequence[Path]) -> list[Header]:
    """What the reader makes of files."""
    return [Dicom().header(path) for path in paths]


def records(paths: Sequence[Path]) -> list[SeriesRecord]:
    """The series in files; each file is in exactly one of them."""
    found = Dicom().series(headers(paths))
    assert sorted(path for record in found for path in record.files) == sorted(str(path) for path in paths)
    return found


def load(*paths: Path) -> Pixels:
    """The pixels of files that are one used series."""
    (record,) = records(paths)
    assert record.series is not None, record.reason
    return Dicom().pixels(record.series)
