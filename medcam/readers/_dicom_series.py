"""Headers of a folder to series: which files belong together, which are used, and the reason for every other one."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Final

from medcam.errors import InputError
from medcam.grid import Grid
from medcam.readers._dicom_checks import require_readable
from medcam.readers._dicom_file import guarded
from medcam.readers._dicom_frames import frame_count, of_frame
from medcam.readers._dicom_kinds import Family, family
from medcam.readers._dicom_plane import is_cine, numbers, plane_grid
from medcam.readers._dicom_records import Group, left_out, used
from medcam.readers._dicom_stack import Slice, same_plane, stack
from medcam.readers.base import Header
from medcam.study import Kind, Reason, SeriesRecord

MANY_GEOMETRIES: Final = 20
"""A series of more than this is no volume with a few strange slices in it."""

GEOMETRY: Final = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}

TIMES: Final = (
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers", "EchoTime", "EffectiveEchoTime"),
    *("DiffusionBValue", "NominalPercentageOfCardiacPhase", "TriggerTime", "AcquisitionNumber"),
    *("FrameAcquisitionNumber", "StackID"),
)
"""What tells time points, phases and echoes apart, the plainest first."""

SAME: Final = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "Rows", "Columns", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
)
"""Two files with one SOP Instance UID must agree on these."""


def series_records(headers: Sequence[Header]) -> list[SeriesRecord]:
    """Every header ends in exactly one record; a record of status "used" can be loaded."""
    excluded: dict[tuple[Any, ...], Group] = {}
    eligible: dict[tuple[Any, ...], Group] = {}
    for header in sorted(headers, key=lambda header: header.path):
        try:
            found = family(header.facts)
        except InputError as error:
            excluded.setdefault((error.code, str(error.args[0]), *_series_key(header)), []).append(header)
        else:
            eligible.setdefault(_object_key(header, found), []).append(header)
    records = [left_out("skipped", group, Reason(key[0], key[1])) for key, group in excluded.items()]
    makers: dict[Family, Callable[[Group], list[SeriesRecord]]] = {
        "slices": _volumes,
        "frames": _enhanced,
        "plane": _plane,
        "slide": _slide,
    }
    for key, group in eligible.items():
        try:
            with guarded():
                kept, copies = _without_copies(group)
                made = makers[key[0]](kept)
        except InputError as error:
            records.append(left_out("refused", group, _reason(error)))
            continue
        records += made
        if copies:
            records.append(left_out("skipped", copies, Reason("duplicate", "Another file holds the same object.")))
    return records


def _series_key(header: Header) -> tuple[str, ...]:
    """What tells series apart; the folder, where the UIDs have been removed."""
    series = str(header.facts.get("SeriesInstanceUID", "")) or str(PurePath(header.path).parent)
    return str(header.facts.get("PatientID", "")), str(header.facts.get("StudyInstanceUID", "")), series


def _object_key(header: Header, found: Family) -> tuple[Any, ...]:
    """What is read together: slices and slide levels by series, other objects on their own."""
    facts = header.facts
    if found in ("slices", "slide"):
        return (found, *_series_key(header), facts.get("SOPClassUID"), facts.get("Modality"))
    return found, facts.get("ConcatenationUID") or facts.get("SOPInstanceUID") or header.path


def _without_copies(group: Group) -> tuple[Group, Group]:
    """One file for each object, a lossless one if there is a choice, and the other copies.

    Raises:
        InputError: `conflicting-copies`, files with one UID that are not the same object.
    """
    copies: dict[str, Group] = {}
    for header in group:
        copies.setdefault(str(header.facts.get("SOPInstanceUID", header.path)), []).append(header)
    kept, left = [], []
    for same in copies.values():
        if len({tuple(header.facts.get(keyword) for keyword in SAME) for header in same}) > 1:
            raise InputError("conflicting-copies", f"{len(same)} different objects carry one SOP Instance UID.")
        best = min(same, key=lambda h: ("Damage" in h.facts, h.facts.get("LossyImageCompression") == "01", h.path))
        kept.append(best)
        left += [header for header in same if header is not best]
    return kept, left


def _volumes(group: Group) -> list[SeriesRecord]:
    """The volume that the slices of a series make, and the slices of other geometry that lie among them."""
    for header in group:
        require_readable(header.facts)
        if frame_count(header.facts) > 1:
            raise InputError("malformed", "Several frames in an object that is made of one.")
    planes = [_slice(header, position, 0) for position, header in enumerate(group)]
    alike = _alike(planes)
    best = max(alike, key=len)
    odd = [group[plane.file] for planes in alike if planes is not best for plane in planes]
    if len(best) <= len(odd):
        raise InputError("mixed-geometry", f"{len(group)} slices of {len(alike)} sizes or orientations.")
    reason = Reason("mixed-geometry", f"Another size or orientation than the {len(best)} slices of this series.")
    records = [left_out("refused", odd, reason)] if odd else []
    try:
        return [_volume(group, best), *records]
    except InputError as error:
        return [left_out("refused", [group[plane.file] for plane in best], _reason(error)), *records]


def _alike(planes: list[Slice]) -> list[list[Slice]]:
    """Slices parted by size, spacing and orientation."""
    parts: list[list[Slice]] = []
    for plane in planes:
        part = next((part for part in parts if same_plane(part[0], plane)), None)
        if part is not None:
            part.append(plane)
        elif len(parts) == MANY_GEOMETRIES:
            raise InputError("mixed-geometry", f"More than {MANY_GEOMETRIES} sizes or orientations.")
        else:
            parts.append([plane])
    return parts


def _enhanced(group: Group) -> list[SeriesRecord]:
    """The volume in the frames of one enhanced object, or of all parts of a concatenation (PS3.3 C.7.6.16.2.2.4)."""
    group = sorted(group, key=lambda header: _whole(header, "ConcatenationFrameOffsetNumber"))
    for header in group:
        require_readable(header.facts)
    if "ConcatenationUID" in group[0].facts:
        _require_all_parts(group)
    planes = [
        _slice(header, position, frame)
        for position, header in enumerate(group)
        for frame in range(frame_count(header.facts))
    ]
    if not all(same_plane(planes[0], plane) for plane in planes):
        raise InputError("mixed-geometry", f"{len(planes)} frames of several sizes or orientations.")
    return [_volume(group, planes)]


def _require_all_parts(group: Group) -> None:
    total, ends = _whole(group[0], "InConcatenationTotalNumber"), 0
    for header in group:
        if _whole(header, "ConcatenationFrameOffsetNumber") != ends:
            raise InputError("concatenation", f"Frames from {ends} on are not here.")
        ends += frame_count(header.facts)
    if total not in (0, len(group)):
        raise InputError("concatenation", f"{len(group)} of {total} parts are here.")


def _volume(group: Group, planes: list[Slice]) -> SeriesRecord:
    ordered, affine = stack(planes)
    files = list(dict.fromkeys(plane.file for plane in ordered))
    place = {file: index for index, file in enumerate(files)}
    shape = (len(ordered), *ordered[0].size)
    reference = ordered[0].frame_of_reference or None
    grid = Grid.of(shape, affine, space="patient", mm_known=True, frame_of_reference=reference)
    frames = tuple((place[plane.file], plane.frame) for plane in ordered)
    return used("volume", [group[file] for file in files], frames, grid)


def _slice(header: Header, file: int, frame: int) -> Slice:
    facts = header.facts
    said = {keyword: numbers(of_frame(facts, keyword, frame)) for keyword in GEOMETRY}
    missing = [keyword for keyword, count in GEOMETRY.items() if len(said[keyword]) != count]
    if missing or min(said["PixelSpacing"]) <= 0:
        raise InputError("no-geometry", f"{', '.join(missing) or 'PixelSpacing'} missing or senseless.")
    times = [(keyword, of_frame(facts, keyword, frame)) for keyword in TIMES]
    times.append(("ImageType", "\\".join(str(facts.get("ImageType", "")).split("\\")[2:])))
    thickness, tilt = numbers(of_frame(facts, "SliceThickness", frame)), numbers(facts.get("GantryDetectorTilt"))
    return Slice(
        file,
        frame,
        (int(facts["Rows"]), int(facts["Columns"])),
        (said["PixelSpacing"][0], said["PixelSpacing"][1]),
        said["ImagePositionPatient"],
        said["ImageOrientationPatient"],
        thickness[0] if thickness and thickness[0] > 0 else 0.0,
        str(facts.get("FrameOfReferenceUID", "")),
        tilt[0] if tilt else 0.0,
        tuple(times),
    )


def _plane(group: Group) -> list[SeriesRecord]:
    (header,) = group
    require_readable(header.facts)
    grid, made_of = plane_grid(header.facts)
    kind: Kind = "cine" if is_cine(header.facts) else "image"
    frames = tuple((0, frame) for frame in range(grid.shape[0] if kind == "cine" else 1))
    return [used(kind, group, frames, grid, made_of)]


def _slide(group: Group) -> list[SeriesRecord]:
    """The levels of one slide, the finest first; its reader loads the tiles."""
    group = sorted(group, key=lambda header: -_whole(header, "TotalPixelMatrixColumns"))
    rows, columns = (_whole(group[0], f"TotalPixelMatrix{axis}") for axis in ("Rows", "Columns"))
    if min(rows, columns) < 1:
        raise InputError("malformed", "The slide does not state its size.")
    spacing = numbers(of_frame(group[0].facts, "PixelSpacing", 0))
    known = len(spacing) == 2 and min(spacing) > 0
    grid = Grid.plane((rows, columns), (spacing[0], spacing[1]) if known else (1.0, 1.0), mm_known=known)
    return [used("slide", group, ((0, 0),), grid)]


def _whole(header: Header, keyword: str) -> int:
    values = numbers(header.facts.get(keyword, ""))
    return int(values[0]) if values else 0


def _reason(error: InputError) -> Reason:
    return Reason(error.code, str(error.args[0]))
