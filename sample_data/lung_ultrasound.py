"""Lung ultrasound: a cine through a convex probe, with or without B-lines and subpleural consolidation.

The picture is simulated the way it arises (scatterers seen through a pulse, ribs that shadow, a pleura that throws the
beam back), in depth samples by scan lines, then log-compressed and scan-converted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundMultiFrameImageStorage

from sample_data.convex import LINES, SAMPLES, Convex, Echo, Field, white
from sample_data.dicom import Patient, Series, Study, code, composite, save, uid
from sample_data.intercostal_view import Chest, amplitude, bump, step, wall
from sample_data.jpeg import save_jpeg
from sample_data.phantom import Lesion, Phantom, stream
from sample_data.sonographic_signs import disease
from sample_data.ultrasound_screen import furnish

A_LINE_ORDERS = (2, 3, 4)  # how often the echo went to and fro between face and pleura
DYNAMIC_RANGE_DB = 58.0
GAMMA = 1.35
Box = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class MovingLesion(Lesion):
    """A lesion of a cine, with its track.

    `boxes` holds, for each frame, the (row, column) where the lesion starts and stops, or None where a rib hides it.
    """

    boxes: tuple[Box | None, ...] = ()

    @classmethod
    def of_mask(cls, kind: str, mask: NDArray[np.bool_], size_mm: float) -> Self:
        """The lesion that covers exactly `mask` (T, H, W), and its boxes. ValueError if the mask is empty."""
        whole = Lesion.of_mask(kind, mask, size_mm)
        boxes: list[Box | None] = []
        for frame in mask:
            rows, columns = np.nonzero(frame.any(axis=1))[0], np.nonzero(frame.any(axis=0))[0]
            seen = len(rows) > 0
            boxes.append(((int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)) if seen else None)
        return cls(whole.kind, whole.box, whole.centre, whole.size_mm, tuple(boxes))


@dataclass(frozen=True)
class Cine(Phantom):
    """A phantom that knows its probe: where on the screen the sector lies."""

    probe: Convex = field(kw_only=True)


def phantom(seed: int, sick: bool) -> Cine:
    """A cine of `seed`'s chest, sick or healthy; the two differ by the lesions and what they physically cause.

    Lesions are `MovingLesion`: "B-line" (half-maximum width, from the pleura to the bottom, where no rib hides it) and
    "consolidation" (down to its shredded border).
    """
    chest = Chest.of_seed(seed)
    probe, r, theta = chest.probe, chest.probe.depths, chest.probe.angles
    lines, consolidation = disease(seed) if sick else ((), None)
    static = probe.echo(wall(seed, chest))
    passed = chest.transmission()
    clear = passed > 0.25  # a shadow deeper than 12 dB hides a lesion
    draw = stream(seed, "lung ultrasound, frames")
    lung_spectrum = np.fft.fft(white(draw), axis=1), np.fft.fft(white(draw), axis=1)
    cycles_per_mm = np.fft.fftfreq(LINES) / ((theta[1] - theta[0]) * chest.reach)
    side = draw.choice([-1, 1]) * 0.1
    contact_db = -draw.uniform(0, 14) * np.clip(np.abs(theta - side) / probe.half_angle - 0.55, 0, None)
    gain_db = contact_db + draw.uniform(-5, 0) - 0.00035 * np.clip(r - 45, 0, None) ** 2
    noise = amplitude(draw.uniform(-60, -55) + 0.06 * r)  # the time gain lifts the noise too

    frames = len(chest.slide_mm)
    grey = np.empty((frames, *probe.sector.shape), np.uint8)
    masks = np.zeros((len(lines) + 1, *grey.shape), bool)  # the last is the consolidation's
    for t in range(frames):
        pleura = chest.pleura + chest.heave_mm[t]
        below, lung_mm = r - pleura, chest.lung_mm(t)
        # the lung's scatterers slide sideways (a phase ramp is an exact shift) and slowly lose their likeness
        spectrum = np.cos(0.05 * t) * lung_spectrum[0] + np.sin(0.05 * t) * lung_spectrum[1]
        shifted = spectrum * np.exp(-2j * np.pi * cycles_per_mm * chest.slide_mm[t])
        scatter = np.fft.ifft(shifted, axis=1).astype(np.complex64)

        haze = amplitude(chest.haze_db - chest.haze_db_per_mm * below)
        mirrored = a_lines(chest, pleura)
        rays = np.zeros((SAMPLES, LINES), np.float32)
        erased = np.zeros(LINES, np.float32)
        for mask, line in zip(masks, lines, strict=False):
            column = line.column(lung_mm)
            rays = np.maximum(rays, line.along(below, t) * column)
            erased = np.maximum(erased, column)
            mask[t] = probe.mask_on_screen((below > 0) & (column >= 0.5) & clear)
        if chest.tail_mm is not None:
            rays += bump(lung_mm - chest.tail_mm, 0.6) * amplitude(-7 - 1.6 * np.abs(below))
        lung = (haze * (1 - erased) + rays) * scatter + mirrored * (1 - erased) * (0.55 + 1.5 * scatter)
        line_db = np.full(LINES, -5.0, np.float32)
        if consolidation is not None:
            lung = consolidation.replace(lung, scatter, below, lung_mm)
            line_db -= 9 * consolidation.cover(lung_mm)  # the pleural line is interrupted above it
            masks[-1, t] = probe.mask_on_screen((below > 0) & (below <= consolidation.deep(lung_mm)) & clear)
        pleural_line = bump(below, 0.55) * amplitude(line_db) * chest.facing
        echo = static + probe.echo(lung * step(below, 0.3) + pleural_line * (0.22 + 0.9 * scatter))
        grey[t] = probe.on_screen(_grey(echo * passed + noise * white(draw), gain_db))

    masks[:-1] &= ~masks[-1]
    kinds = ["B-line"] * len(lines) + ["consolidation"]
    lesions = [
        MovingLesion.of_mask(kind, mask, _extent_px(mask) * probe.pixel_mm)
        for kind, mask in zip(kinds, masks, strict=True)
        if mask.any()
    ]
    pixels, distractors = furnish(grey, probe, seed)
    return Cine(
        modality="US",
        pixels=pixels,
        mask=np.asarray(masks.any(axis=0)),
        label=int(sick),
        spacing=(probe.pixel_mm, probe.pixel_mm),
        lesions=tuple(lesions),
        frame_times_s=tuple(t * chest.frame_time_ms / 1000 for t in range(frames)),
        distractors=distractors + (("comet-tail",) if chest.tail_mm is not None else ()),
        probe=probe,
    )


def a_lines(chest: Chest, pleura: Field) -> Field:
    """(SAMPLES, LINES) amplitude of the A-lines: the pleura's mirror images at multiples of its depth, each weaker."""
    depths = chest.probe.depths
    images = [
        amplitude(chest.a_line_db - 10 * (n - 2)) * bump(depths - n * pleura, 0.35 + 0.1 * n) for n in A_LINE_ORDERS
    ]
    return np.sum(images, axis=0) * chest.facing


def _grey(echo: Echo, gain_db: Field) -> Field:
    """Log-compressed envelope, 0 to 255."""
    level = 1 + (20 * np.log10(np.abs(echo) + np.float32(1e-5)) + gain_db) / DYNAMIC_RANGE_DB
    return (255 * np.clip(level, 0, 1) ** GAMMA).astype(np.float32)


def _extent_px(mask: NDArray[np.bool_]) -> int:
    """The largest height or width of a lesion in any one frame."""
    sides = [np.ptp(index) + 1 for frame in mask if frame.any() for index in np.nonzero(frame)]
    return int(max(sides))


def write(
    phantom: Cine, folder: Path, patient: Patient, study: Study, *, series_number: int = 1, encoding: str = "rgb"
) -> list[Path]:
    """Write a cine as one Ultrasound Multi-frame Image (PS3.3 A.7) into `folder`; returns the paths written.

    `encoding`: "rgb" (uncompressed), "jpeg" (YBR_FULL_422 in JPEG baseline, one fragment per frame) or "monochrome"
    (MONOCHROME2, the luma). ValueError for another encoding.
    """
    pixels = np.asarray(phantom.pixels, np.uint8)
    series = Series(uid(study.uid, series_number), "US", series_number, "Lung, convex probe")
    image = composite(UltrasoundMultiFrameImageStorage, uid(series.uid, 1), patient, study, series, 1)
    image.ImageType = ["ORIGINAL", "PRIMARY", "CHEST", "0001"]  # 0001: 2-D imaging (C.8.5.6.1.1)
    image.BodyPartExamined = "LUNG"
    image.AnatomicRegionSequence = [code("39607008", "SCT", "Lung")]
    image.PatientOrientation = ""
    image.TransducerType = "CURVED LINEAR"
    image.LossyImageCompression = "00"
    image.NumberOfFrames, image.Rows, image.Columns = pixels.shape[:3]
    image.FrameIncrementPointer = 0x00181063  # Frame Time
    image.FrameTime = round(1000 * phantom.frame_times_s[1], 3)
    image.SequenceOfUltrasoundRegions = [_region(phantom.probe)]
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    path = folder / f"{series_number:03d}-lung-cine.dcm"
    if encoding == "jpeg":
        return [save_jpeg(image, pixels, path)]
    if encoding == "monochrome":
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        pixels = np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)  # luma, ITU-R BT.601
    elif encoding == "rgb":
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    else:
        raise ValueError(f"encoding is rgb, jpeg or monochrome, not {encoding}")
    image.PixelData = pixels.tobytes()
    return [save(image, path)]


def _region(probe: Convex) -> Dataset:
    """The sector as an ultrasound region (PS3.3 C.8.5.5): 2-D tissue, in centimetres per pixel."""
    rows, columns = (np.nonzero(probe.sector.any(axis=axis))[0] for axis in (1, 0))
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = int(columns[0]), int(columns[-1])
    region.RegionLocationMinY0, region.RegionLocationMaxY1 = int(rows[0]), int(rows[-1])
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # centimetres
    region.PhysicalDeltaX = region.PhysicalDeltaY = probe.pixel_mm / 10
    return region
