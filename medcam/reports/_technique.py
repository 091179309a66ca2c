"""The words about the images: what was looked at, why, what was left out and why, and what was done to the values."""

import re

from medcam.errors import REASONS
from medcam.findings import PROJECTIONS, Case
from medcam.reports._blocks import Block, Rows, Table, Words

PERSONAL = ("PatientAge", "PatientSex", "PatientSize", "PatientWeight")
"""Facts about the patient: they go where the identifiers go."""


def blocks(case: Case, identified: bool) -> tuple[Block, ...]:
    """Series, selection, what was left out, preprocessing and explanation.

    Args:
        case: what is reported.
        identified: whether the report names the patient.
    """
    facts = tuple(
        (readable(keyword), ", ".join(filter(None, value.split("\\"))))
        for keyword, value in sorted(case.facts.items())
        if value and not keyword.endswith("UID") and (identified or keyword not in PERSONAL)
    )
    explanation = case.explanation
    places = {
        "composed": "exact, composed from kernel, stride and padding",
        "measured": "measured with a probe",
        "assumed": "assumed; the map may be shifted",
    }
    rows = (
        ("Modality", case.modality),
        ("Indication", "not known to the software"),
        ("Series", extent(case)),
        ("Why this series", case.selection),
        ("Preprocessing", "; ".join(case.provenance.steps) or "none"),
        ("Explanation", f"{explanation.method}, layer {explanation.layer}, target {explanation.target}"),
        ("Place of the map's cells", places.get(explanation.alignment, explanation.alignment)),
    )
    found: list[Block] = [Rows(rows)]
    if facts:
        found.append(Rows(facts, "The source's header says", short=True))
    if not case.left_out:
        return (*found, Words(("No other series of the study was left out.",)))
    head = ("Series left out", "Code", "Why")
    left = tuple(
        (left.description, left.reason.code, left.reason.detail or REASONS[left.reason.code]) for left in case.left_out
    )
    return (*found, Table(head, left))


def extent(case: Case) -> str:
    """Size of the source in pixels and, where known, millimetres and seconds."""
    grid = case.grid
    rows, columns = grid.shape[-2:]
    size = f"{rows} x {columns} pixels"
    if case.kind == "volume":
        size = f"{grid.shape[0]} slices of {size}"
    elif case.kind == "cine":
        size = f"{grid.shape[0]} frames of {size}"
    if not grid.mm_known:
        size += "; millimetres not known"
    elif case.kind == "volume":
        size += f"; slices {grid.spacing[0]:.4g} mm apart, pixels {grid.spacing[1]:.4g} x {grid.spacing[2]:.4g} mm"
    else:
        where = " at the detector" if case.modality in PROJECTIONS else ""
        size += f"; pixels {grid.spacing[-2]:.4g} x {grid.spacing[-1]:.4g} mm{where}"
    if case.frame_times_s is not None and len(case.frame_times_s) > 1:
        size += f"; frames over {case.frame_times_s[-1] - case.frame_times_s[0]:.2f} s"
    elif grid.is_cine:
        size += "; frame rate not stated"
    return f"{case.kind}, {size}"


def readable(keyword: str) -> str:
    """A DICOM keyword as words: BodyPartExamined -> Body part examined."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", keyword).split(" ")
    return " ".join([words[0], *(word if word.isupper() else word.lower() for word in words[1:])])
