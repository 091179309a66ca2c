"""Chest CT: a thorax in HU with or without pulmonary nodules, written as the slices of one series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from sample_data import dicom
from sample_data.ct_anatomy import paint_anatomy, paint_distractors
from sample_data.nodules import place, plant
from sample_data.phantom import Lesion, Phantom, stream
from sample_data.texture import correlated
from sample_data.thorax import Thorax
from sample_data.volume import Volume

ROWS, PIXEL_MM = 160, 2.2


def phantom(seed: int, sick: bool) -> Phantom:
    """A chest CT of 160 x 160 pixels and 56 to 64 slices; the sick one carries one to three nodules of 6 to 30 mm."""
    thorax = Thorax.of_seed(seed)
    rng = stream(seed, "ct")
    slices, slice_mm = int(rng.integers(56, 65)), 4.5 if rng.random() < 0.5 else 4.75
    volume = Volume((slices, ROWS, ROWS), (slice_mm, PIXEL_MM, PIXEL_MM))
    lung = paint_anatomy(volume, thorax, rng)
    distractors = paint_distractors(volume, thorax, stream(seed, "ct distractors"))
    mask = np.zeros(volume.hu.shape, dtype=bool)
    lesions = []
    for nodule in place(volume, thorax, lung, stream(seed, "ct nodules")) if sick else ():
        mask |= (own := plant(volume, nodule))
        lesions.append(Lesion.of_mask(nodule.kind, own, 2 * max(nodule.radii)))
    _noise(volume, stream(seed, "ct noise"))
    return Phantom("CT", volume.hu, mask, int(sick), volume.spacing, tuple(lesions), distractors=distractors)


def _noise(volume: Volume, rng: np.random.Generator) -> None:
    """Quantum noise as a soft kernel leaves it."""
    volume.hu += rng.uniform(10, 20) * correlated(rng, volume.hu.shape, 1, (1, 2))
    np.clip(volume.hu, -1024, 3071, out=volume.hu)


@dataclass(frozen=True)
class Geometry:
    """Where a CT array lies: LPS mm = `origin` + `axes` @ (spacing * index).

    The columns of `axes` (3, 3) are the unit vectors of d, h and w.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: tuple[float, ...]

    @classmethod
    def of(
        cls, phantom: Phantom, tilt_deg: float = 0.0, tilt_axis: str = "x", centre: Sequence[float] = (0, 0, 0)
    ) -> Geometry:
        """The middle of the phantom at `centre` (LPS mm), the grid turned by `tilt_deg` about x, y or z."""
        axes = _rotation(tilt_deg, tilt_axis) @ np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])
        middle = (np.array(phantom.pixels.shape) - 1) / 2 * phantom.spacing
        return cls(np.asarray(centre, dtype=float) - axes @ middle, axes, phantom.spacing)

    def lps(self, index: Sequence[float]) -> tuple[float, float, float]:
        """LPS mm of an index (d, h, w); fractions allowed."""
        x, y, z = self.origin + self.axes @ (np.asarray(index, dtype=float) * self.spacing)
        return (float(x), float(y), float(z))


@dataclass(frozen=True)
class Habits:
    """How a series departs from the textbook.

    `signed`: stored as signed integers with RescaleIntercept 0 instead of unsigned with -1024. `shuffled`: file names
    and InstanceNumber say nothing about the order in space. `localizer`: a scout lies in the same series.
    `varying_intercept`: each slice has its own RescaleIntercept, the HU are the same. `omitted`: slices not written.
    """

    signed: bool = False
    shuffled: bool = True
    extension: str = ".dcm"
    localizer: bool = False
    varying_intercept: bool = False
    omitted: tuple[int, ...] = ()


def write(
    phantom: Phantom,
    folder: Path,
    patient: dicom.Patient,
    study: dicom.Study,
    *,
    series_number: int = 1,
    geometry: Geometry | None = None,
    habits: Habits = Habits(),
) -> list[Path]:
    """Write the phantom as one CT series (PS3.3 A.3) in `folder`; paths from the feet to the head, a localizer last."""
    geometry = geometry or Geometry.of(phantom)
    series = dicom.Series(dicom.uid(study.uid, series_number), "CT", series_number, "Chest, soft kernel")
    order = stream(int(series_number), f"files of {series.uid}").permutation(len(phantom.pixels) + 1)
    names = order if habits.shuffled else np.arange(len(phantom.pixels) + 1)
    paths = []
    for d in range(len(phantom.pixels)):
        if d in habits.omitted:
            continue
        number = int(names[d]) + 1
        dataset = _slice(phantom, d, geometry, habits, patient, study, series, number)
        paths.append(dicom.save(dataset, folder / f"IM{number:04d}{habits.extension}"))
    if habits.localizer:
        number = int(names[-1]) + 1
        dataset = _localizer(phantom, geometry, patient, study, series, number)
        paths.append(dicom.save(dataset, folder / f"IM{number:04d}{habits.extension}"))
    return paths


def _slice(
    phantom: Phantom,
    d: int,
    geometry: Geometry,
    habits: Habits,
    patient: dicom.Patient,
    study: dicom.Study,
    series: dicom.Series,
    number: int,
) -> Dataset:
    intercept = (0 if habits.signed else -1024) - (d % 5) * 8 * habits.varying_intercept
    stored = np.rint(phantom.pixels[d]) - intercept
    dataset = _image(stored, habits.signed, intercept, patient, study, series, number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [_decimal(v) for v in geometry.lps((d, 0, 0))]
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*geometry.axes[:, 2], *geometry.axes[:, 1])]
    dataset.PixelSpacing = [_decimal(v) for v in phantom.spacing[1:]]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(phantom.spacing[0])
    dataset.SliceLocation = _decimal(float(geometry.axes[:, 0] @ geometry.lps((d, 0, 0))))
    return dataset


def _localizer(
    phantom: Phantom,
    geometry: Geometry,
    patient: dicom.Patient,
    study: dicom.Study,
    series: dicom.Series,
    number: int,
) -> Dataset:
    """The scout: the mean along the beam from the front, head up, in the series' frame of reference."""
    view = np.asarray(phantom.pixels, dtype=float).mean(axis=1)[::-1]
    dataset = _image(np.rint(view) + 1024, False, -1024, patient, study, series, number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.RescaleType = "US"  # a projection is not in HU
    d, h, _ = phantom.pixels.shape
    dataset.ImagePositionPatient = [_decimal(v) for v in geometry.lps((d - 1, h / 2, 0))]
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*geometry.axes[:, 2], *-geometry.axes[:, 0])]
    dataset.PixelSpacing = [_decimal(v) for v in (phantom.spacing[0], phantom.spacing[2])]
    dataset.SliceThickness = _decimal(phantom.spacing[1] * h)
    return dataset


def _image(
    stored: NDArray[np.floating],
    signed: bool,
    intercept: int,
    patient: dicom.Patient,
    study: dicom.Study,
    series: dicom.Series,
    number: int,
) -> Dataset:
    """Everything of a CT image but its place in space (PS3.3 C.7.6.3, C.8.2.1)."""
    uid = dicom.uid(series.uid, number)
    dataset = dicom.composite(CTImageStorage, uid, patient, study, series, number)
    dataset.BodyPartExamined, dataset.PatientPosition = "CHEST", "HFS"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = dicom.uid(series.uid, "frame of reference"), ""
    dataset.KVP, dataset.AcquisitionNumber, dataset.ConvolutionKernel = "120", 1, "SOFT"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(signed)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = intercept, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = [-600, 40], [1500, 400]
    dataset.WindowCenterWidthExplanation = ["LUNG", "MEDIASTINUM"]
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    return dataset


def _rotation(degrees: float, axis: str) -> NDArray[np.float64]:
    """Right-handed rotation about the patient's x, y or z."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = cos
    rotation[second, first], rotation[first, second] = sin, -sin
    return rotation


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters (PS3.5 6.2)."""
    text = f"{value:.9f}" if abs(value) < 10 else f"{value:.6f}"
    return "0" if float(text) == 0 else text
