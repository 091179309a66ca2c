"""Images and cines: millimetres, seconds and orientation of a plane that has no place in the patient."""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

from medcam.grid import Grid
from medcam.readers._dicom_frames import frame_count
from medcam.readers._dicom_kinds import VIDEO

Facts = Mapping[str, Any]

RADIOGRAPHS: Final = ("CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF")
SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""In this order: calibrated or as given, at the detector, of a digitised film (PS3.3 10.7.1)."""

PLANAR_FORMAT, CENTIMETRES = 1.0, 3.0
EDGE_PIXELS: Final = 1
"""By how much a calibrated region may reach beyond the frame: off-by-one maxima are common."""


def numbers(text: object) -> tuple[float, ...]:
    """Finite numbers of a decimal string with backslashes; none at all if one of them is not a finite number."""
    try:
        values = tuple(float(part) for part in str(text).split("\\"))
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def is_cine(facts: Facts) -> bool:
    """Whether the object is a moving image."""
    return frame_count(facts) > 1 or facts["TransferSyntaxUID"] in VIDEO


def plane_grid(facts: Facts) -> tuple[Grid, dict[str, str]]:
    """The grid of an image (H, W) or cine (T, H, W), and what it was had from: SpacingFrom, FrameTimesFrom, ..."""
    size = (int(facts["Rows"]), int(facts["Columns"]))
    spacing, made_of = _spacing(facts, size)
    radiograph = facts.get("Modality") in RADIOGRAPHS
    orientation = str(facts.get("PatientOrientation", "")).split("\\")
    known: dict[str, Any] = {
        "space": "detector" if spacing or radiograph else "pixels",
        "mm_known": spacing is not None,
        "patient_orientation": tuple(orientation) if len(orientation) == 2 and all(orientation) else None,
    }
    if not is_cine(facts):
        return Grid.plane(size, spacing or (1.0, 1.0), **known), made_of
    times, made_of["FrameTimesFrom"] = _times(facts, frame_count(facts))
    return Grid.plane((len(times), *size), spacing or (1.0, 1.0), frame_times_s=times, **known), made_of


def _spacing(facts: Facts, size: tuple[int, int]) -> tuple[tuple[float, float] | None, dict[str, str]]:
    """(row, column) distance in mm."""
    if facts.get("Regions"):
        return _ultrasound(facts["Regions"], size)
    for keyword in SPACINGS:
        pair = numbers(facts.get(keyword))
        if len(pair) == 2 and min(pair) > 0:
            return (pair[0], pair[1]), {"SpacingFrom": keyword}
    return None, {}


def _ultrasound(regions: list[list[float]], size: tuple[int, int]) -> tuple[tuple[float, float] | None, dict[str, str]]:
    """Scale of the two-dimensional regions if they agree and fit the frame; the box around them (PS3.3 C.8.5.5)."""
    planar = [
        r for r in regions if r[0] == PLANAR_FORMAT and r[2] == r[3] == CENTIMETRES and r[6] > r[4] and r[7] > r[5]
    ]
    if not planar:
        return None, {}
    x0, y0 = (min(region[axis] for region in planar) for axis in (4, 5))
    x1, y1 = (max(region[axis] for region in planar) for axis in (6, 7))
    right, bottom = size[1] - 1, size[0] - 1
    box = [max(x0, 0), max(y0, 0), min(x1, right), min(y1, bottom)]
    if box[0] >= box[2] or box[1] >= box[3]:
        return None, {}
    made_of = {"UltrasoundRegion": "\\".join(f"{value:.0f}" for value in box)}
    fits = x0 >= -EDGE_PIXELS and y0 >= -EDGE_PIXELS and x1 <= right + EDGE_PIXELS and y1 <= bottom + EDGE_PIXELS
    scales = {(abs(region[9]) * 10, abs(region[8]) * 10) for region in planar}
    scale = scales.pop()
    if not fits or scales or min(scale) <= 0:  # made for another frame size, or several scales in one frame
        return None, made_of
    return scale, made_of | {"SpacingFrom": "SequenceOfUltrasoundRegions"}


def _times(facts: Facts, count: int) -> tuple[tuple[float, ...], str]:
    """Seconds at which each frame begins, and which element said so."""
    vector = numbers(facts.get("FrameTimeVector"))
    if len(vector) == count and min(vector) >= 0:
        return tuple(total / 1000 for total in accumulate((0.0, *vector[1:]))), "FrameTimeVector"
    step = numbers(facts.get("FrameTime"))
    if len(step) == 1 and step[0] > 0:
        return tuple(step[0] * frame / 1000 for frame in range(count)), "FrameTime"
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = numbers(facts.get(keyword))
        if len(rate) == 1 and rate[0] > 0:
            return tuple(frame / rate[0] for frame in range(count)), keyword
    return tuple(float(frame) for frame in range(count)), "none"
