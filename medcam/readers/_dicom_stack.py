"""Slices in order along their normal, and every reason why a stack of them would be a wrong volume (PS3.3 C.7.6.2)."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from medcam.errors import InputError

Matrix = npt.NDArray[np.float64]

TOLERANCE_MM: Final = 0.01
TOLERANCE: Final = 0.01
"""Part of the usual gap between slices by which a gap may differ."""
SHEAR_PIXELS: Final = 0.1
"""How far, in pixels, slices may lie beside the line along their normal."""
TILT_DEGREES: Final = 0.5


@dataclass(frozen=True)
class Slice:
    """One plane of a volume: which file and frame it is, and its geometry in DICOM's LPS millimetres."""

    file: int
    frame: int
    size: tuple[int, int]
    spacing: tuple[float, float]
    """Distance of (rows, columns)."""
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    thickness: float
    """Slice Thickness; 0 where not stated. Only a slice on its own has its extent from it."""
    frame_of_reference: str
    tilt_degrees: float
    times: tuple[tuple[str, str], ...]
    """What may tell time points, phases and echoes apart: (keyword, value)."""


def same_plane(one: Slice, other: Slice) -> bool:
    """Whether two slices can belong to one volume: equal size, spacing and orientation, but for rounding."""
    return (
        one.size == other.size
        and all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(one.spacing, other.spacing, strict=True))
        and all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(one.orientation, other.orientation, strict=True))
    )


def stack(slices: Sequence[Slice]) -> tuple[list[Slice], Matrix]:
    """Slices of one size and orientation, sorted along row x column, and the 4x4 affine (d, h, w) -> RAS mm.

    Raises:
        InputError: `mixed-frame-of-reference`, `mixed-times`, `duplicate-positions`, `gantry-tilt`, `missing-slices`.
    """
    references = Counter(plane.frame_of_reference for plane in slices)
    if len(references) > 1:
        raise InputError("mixed-frame-of-reference", f"{len(references)} frames of reference: {_counts(references)}.")
    row, column, normal = axes(slices[0].orientation)
    positions = np.array([plane.position for plane in slices])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    ordered = [slices[index] for index in order]
    positions, along = positions[order], along[order]
    gaps = np.diff(along)
    usual = float(np.median(gaps[gaps > TOLERANCE_MM])) if (gaps > TOLERANCE_MM).any() else 0.0
    if (gaps <= TOLERANCE_MM).any():
        raise _same_place(ordered, gaps)
    _refuse_tilt(ordered, positions, normal)
    odd = np.abs(gaps - usual) > max(TOLERANCE * usual, TOLERANCE_MM)
    if odd.any():
        seen = Counter(f"{gap:.2f}" for gap in gaps)
        raise InputError("missing-slices", f"{len(ordered)} slices with gaps in mm of {_counts(seen)}.")
    step = (along[-1] - along[0]) / len(gaps) if len(gaps) else ordered[0].thickness or 1.0
    height, width = ordered[0].spacing
    lps = np.eye(4)
    lps[:3] = np.stack([normal * step, column * height, row * width, positions[0]], axis=1)
    return ordered, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps + 0.0  # DICOM's x and y run to the left and back


def axes(orientation: Sequence[float]) -> tuple[Matrix, Matrix, Matrix]:
    """Unit vectors along a row, down a column, and their normal, from Image Orientation (Patient).

    Raises:
        InputError: `no-geometry`, the two cosines are not perpendicular unit vectors.
    """
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(row @ column) > 1e-2:
        raise InputError("no-geometry", "Image Orientation is not two perpendicular unit vectors.")
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return row, column, np.cross(row, column)


def _same_place(ordered: Sequence[Slice], gaps: Matrix) -> InputError:
    """Why several slices claim one position: a tag that tells them apart at every position, or nothing does."""
    starts = [0, *(np.flatnonzero(gaps > TOLERANCE_MM) + 1).tolist(), len(ordered)]
    places = [ordered[start:end] for start, end in pairwise(starts)]
    for keyword in [name for name, _ in ordered[0].times]:
        values = [[dict(plane.times).get(keyword, "") for plane in place] for place in places]
        if all(len(set(each)) == len(each) for each in values):
            different = {value for each in values for value in each}
            return InputError(
                "mixed-times",
                f"{len(ordered)} slices at {len(places)} positions: {len(different)} values of {keyword}.",
            )
    twice = sum(len(place) > 1 for place in places)
    return InputError("duplicate-positions", f"{twice} of {len(places)} positions are claimed by several slices.")


def _refuse_tilt(ordered: Sequence[Slice], positions: Matrix, normal: Matrix) -> None:
    if len(ordered) < 2:
        return
    offsets = positions - positions[0]
    beside = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    allowed = max(SHEAR_PIXELS * min(ordered[0].spacing), TOLERANCE_MM)
    stated = ordered[0].tilt_degrees
    if beside.max() > allowed:
        path = offsets[-1]
        angle = float(np.degrees(np.arccos(np.clip(abs(path @ normal) / np.linalg.norm(path), 0, 1))))
        tag = f", the tag says {stated:g} degrees" if stated else ""
        raise InputError(
            "gantry-tilt", f"Slices drift {beside.max():.2f} mm sideways: a shear of {angle:.1f} degrees{tag}."
        )
    off_axis = float(np.degrees(np.arccos(np.clip(np.abs(normal).max(), 0, 1))))
    if abs(stated) > TILT_DEGREES and abs(off_axis - abs(stated)) > TILT_DEGREES:
        raise InputError(
            "gantry-tilt", f"The tag says {stated:g} degrees, but the slices lie {off_axis:.1f} degrees off their axis."
        )


def _counts(seen: "Counter[str]") -> str:
    few = [f"{value or 'none'} ({count}x)" for value, count in seen.most_common(4)]
    return ", ".join(few) + (", ..." if len(seen) > 4 else "")
