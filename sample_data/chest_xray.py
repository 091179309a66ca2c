"""Frontal chest X-ray: Beer-Lambert projection of a thorax with or without an airspace opacity, written as DX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from sample_data import dicom
from sample_data.phantom import Lesion, Phantom, stream
from sample_data.projection import Array, Projection
from sample_data.texture import correlated, enlarge, smooth
from sample_data.thorax import Thorax
from sample_data.xray_anatomy import LUNG_DENSITY, Paths, project
from sample_data.xray_distractors import draw_distractors

SIZE, PIXEL_MM = 512, 0.75
SOFT_PER_MM, BONE_PER_MM = 0.0185, 0.052  # effective attenuation near 70 keV; soft tissue hardens the beam
_PHOTONS = 90_000  # per pixel in air
_VIEWS = {  # code (CID 4010), its meaning, the patient's direction along a row
    "PA": ("272479007", "postero-anterior", "L"),
    "AP": ("399348003", "antero-posterior", "L"),
    "LL": ("399173006", "left lateral", "P"),
}


def phantom(seed: int, sick: bool) -> Phantom:
    """A frontal chest X-ray, 512 x 512; the sick one carries one or two opacities of 25 to 80 mm."""
    rng = stream(seed, "dx")
    portable = bool(rng.random() < 0.4)
    thorax = Thorax.of_seed(seed)
    if portable:  # nearer to the tube, farther from the detector, and shallow breath
        heart = tuple(1.12 * radius for radius in thorax.heart_radii)
        thorax = replace(thorax, heart_radii=heart, domes=(thorax.domes[0] + 10, thorax.domes[1] + 10))
    view = Projection(SIZE, PIXEL_MM, (rng.uniform(0, 14), rng.uniform(-8, 8)))
    paths = project(thorax, view, portable, rng)
    metal, distractors = draw_distractors(thorax, view, portable, stream(seed, "dx distractors"))

    filled, mask, lesions = view.zeros(), np.zeros((SIZE, SIZE), dtype=bool), []
    for path, own in _opacities(paths, stream(seed, "dx opacities")) if sick else ():
        filled, mask = np.maximum(filled, path), mask | own
        lesions.append(Lesion.of_mask("airspace opacity", own, _extent(own)))

    film = _expose(paths, filled, metal, stream(seed, "dx exposure"))
    position = "AP" if portable else "PA"
    return Phantom(
        "DX", film, mask, int(sick), (PIXEL_MM, PIXEL_MM), tuple(lesions), distractors=distractors, view=position
    )


def _opacities(paths: Paths, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Airspace filled with fluid: (path in mm, mask) of each opacity, where the lung is deep enough to hold it."""
    found: list[tuple[Array, Array]] = []
    rows, columns = np.nonzero(paths.lung > 100)
    wanted = 1 if rng.random() < 0.75 else 2
    grid_row, grid_column = np.ogrid[:SIZE, :SIZE]
    for _ in range(200):
        pick = int(rng.integers(len(rows)))
        half = np.exp(rng.uniform(np.log(13), np.log(38), 2)) / PIXEL_MM
        deep = float(rng.uniform(22, 55))
        edge = rng.uniform(0.5, 0.9)
        ragged = enlarge(correlated(rng, (SIZE // 8, SIZE // 8), 3, (0, 1)), 8, (0, 1))
        patchy = enlarge(correlated(rng, (SIZE // 4, SIZE // 4), 2, (0, 1)), 4, (0, 1))
        turn = rng.uniform(0, np.pi)
        down, right = grid_row - rows[pick], grid_column - columns[pick]
        long, short = np.cos(turn) * down + np.sin(turn) * right, np.cos(turn) * right - np.sin(turn) * down
        radius = np.sqrt((long / half[0]) ** 2 + (short / half[1]) ** 2)
        shape = np.clip((1 - radius + 0.2 * ragged) / edge + 0.5, 0, 1) * np.clip(1.3 - 0.3 * radius, 0, 1)
        shape = shape * shape * (3 - 2 * shape) * np.clip(paths.lung / (1.2 * deep), 0, 1)
        mask = shape > 0.5
        whole = mask.sum() > 0.6 * np.pi * half[0] * half[1]  # else cut off by the edge of the lung
        if whole and 25 <= _extent(mask) <= 80 and not any((mask & other).any() for _, other in found):
            found.append((np.minimum(deep * shape * (1 + 0.12 * patchy), 0.9 * paths.lung), mask))
        if len(found) == wanted:
            return found
    if found:
        return found
    raise RuntimeError("no room for an opacity in these lungs")


def _extent(mask: Array) -> float:
    """The longer side of the bounding box, in mm."""
    rows, columns = np.nonzero(mask)
    return PIXEL_MM * float(1 + max(np.ptp(rows), np.ptp(columns)))


def _expose(paths: Paths, filled: Array, metal: Array, rng: np.random.Generator) -> Array:
    """From path lengths to the film in [0, 1], bright = dense: attenuation, scatter, photon noise, film curve."""

    def transmitted(fluid: Array) -> Array:
        water = paths.soft - (1 - LUNG_DENSITY) * (paths.lung - fluid)
        return np.exp(-SOFT_PER_MM * water - (BONE_PER_MM - SOFT_PER_MM) * paths.bone - 0.4 * metal)

    healthy, primary = transmitted(np.zeros_like(filled)), transmitted(filled)
    # scatter is so broad that the lesion's share in it is lost: the healthy one serves both, and the label stays local
    coarse = healthy.reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3))
    scatter = enlarge(smooth(coarse, 40, (0, 1)), 8, (0, 1))
    signal = smooth(primary, 1, (0, 1)) + rng.uniform(0.10, 0.22) * np.minimum(scatter, 0.12)
    grain = smooth(rng.standard_normal(signal.shape, dtype=np.float32), 1, (0, 1)) * 1.4
    signal = signal + np.sqrt(signal / _PHOTONS) * grain * rng.uniform(1.0, 2.2)
    dense = -np.log(np.maximum(signal, 1e-4))
    blocks = dense.reshape(SIZE // 4, 4, SIZE // 4, 4).mean(axis=(1, 3))
    sharp = 2 * dense - enlarge(smooth(blocks, 12, (0, 1)), 4, (0, 1))  # the edge enhancement of digital systems
    middle, steep = rng.uniform(2.3, 2.6), rng.uniform(0.62, 0.8)
    return (1 / (1 + np.exp(-(sharp - middle) / steep))).astype(np.float32)


def write(
    phantom: Phantom,
    folder: Path,
    patient: dicom.Patient,
    study: dicom.Study,
    *,
    series_number: int = 1,
    inverted: bool = False,
    name: str = "IM0001.dcm",
) -> list[Path]:
    """Write one DX image (PS3.3 A.26), 12 bits; `inverted` stores it as MONOCHROME1. Returns the path of the file."""
    series = dicom.Series(dicom.uid(study.uid, series_number), "DX", series_number, f"Chest {phantom.view}")
    uid = dicom.uid(series.uid, 1)
    dataset = dicom.composite(DigitalXRayImageStorageForPresentation, uid, patient, study, series, 1)
    dataset.PresentationIntentType = "FOR PRESENTATION"
    _anatomy_and_position(dataset, phantom)
    _detector(dataset, phantom)

    stored = np.rint(np.asarray(phantom.pixels, dtype=float) * 4095)
    stored = 4095 - stored if inverted else stored
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverted else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.AcquisitionContextSequence = []
    dataset.PixelData = stored.astype("<u2").tobytes()
    return [dicom.save(dataset, folder / name)]


def _anatomy_and_position(dataset: Dataset, phantom: Phantom) -> None:
    """DX Anatomy Imaged and DX Positioning modules (PS3.3 C.8.11.2, C.8.11.5)."""
    dataset.BodyPartExamined, dataset.ImageLaterality = "CHEST", "U"
    dataset.AnatomicRegionSequence = [dicom.code("816094009", "SCT", "Chest")]
    value, meaning, across = _VIEWS[phantom.view]
    dataset.ViewPosition, dataset.PatientOrientation = phantom.view, [across, "F"]
    view = dicom.code(value, "SCT", meaning)
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]


def _detector(dataset: Dataset, phantom: Phantom) -> None:
    """DX Detector module (PS3.3 C.8.11.4); spacing at the detector, not corrected for magnification."""
    dataset.DetectorType, dataset.PositionerType = "DIRECT", "NONE"
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = [f"{mm:g}" for mm in phantom.spacing]
    dataset.KVP = "70"
