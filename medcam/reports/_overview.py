"""All cases and refusals of one report run as two tables: what needs a human first comes first."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcam.errors import REASONS
from medcam.findings import plus_minus
from medcam.reports.base import Entry

ORDER = {"refer": 0, "flagged": 1, "demonstration only": 2, "not flagged": 3, "outdated": 4}


@dataclass(frozen=True)
class CaseLine:
    """One case; `links` are (what, address relative to the overview)."""

    key: str
    patient: str
    modality: str
    finding: str
    decision: str
    score: str
    where: str
    reviewed: str
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Overview:
    """What the index page shows."""

    cases: tuple[CaseLine, ...]
    refusals: tuple[tuple[str, ...], ...]
    """(study, pipeline, series, status, code, why)."""
    identified: bool
    score_names: str


def overview(entries: Sequence[Entry], refusals: Sequence[dict[str, str]], folder: Path) -> Overview:
    """The two tables, with links relative to `folder`."""
    ordered = sorted(entries, key=_pressing)
    lines = []
    for r in refusals:
        why = r["detail"] or REASONS[r["code"]]
        lines.append((r["study_key"], r["pipeline"] or "all", r["description"], r["status"], r["code"], why))
    identified = any(entry.identifiers is not None for entry in entries)
    names = " or ".join(sorted({entry.score_name for entry in entries}))
    return Overview(tuple(_line(entry, folder) for entry in ordered), tuple(lines), identified, names)


def _pressing(entry: Entry) -> tuple[int, float, str]:
    return ORDER[entry.row["decision"]], -entry.row["score"], entry.row["case"]


def _address(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _line(entry: Entry, folder: Path) -> CaseLine:
    row, ids = entry.row, entry.identifiers
    links = tuple(
        (path.stem.removeprefix(row["case"]).strip("_") or path.suffix[1:], _address(path, folder))
        for paths in entry.files.values()
        for path in paths
    )
    return CaseLine(
        key=row["case"],
        patient=entry.patient_key if ids is None else f"{ids.patient_name} ({ids.patient_id})",
        modality=row["modality"],
        finding=row["finding"],
        decision=row["decision"],
        score=plus_minus(row["score"], row["score_sd"]),
        where=row["where"],
        reviewed=entry.reviewed,
        links=links,
    )
