"""Manifests: a CSV with one row per image, checked row by row before anything is decoded."""

import csv
import io
import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from medcam.errors import UsageError
from medcam.plugins import near

NEEDED = ("file", "label", "patient_id")
MOST_SHOWN = 10
"""Problems that a refusal lists; it counts the others."""

NO_PATIENT = ("nan", "none", "null", "na", "n/a", "#n/a", "unknown", "anonymous", "anonymized", "anonymised", "?", "-")
"""What stands in a patient_id cell, in any case, where nobody knew the patient."""


@dataclass(frozen=True)
class Row:
    """One image or series of a manifest."""

    line: int
    """Where the row begins in the CSV; the header is line 1."""
    file: Path
    """Absolute; a folder means one DICOM series."""
    label: str
    patient_id: str
    exam: str
    """Rows of one exam are judged together: the column `exam`, else `study_id`, else the file as it is written."""
    split: str
    columns: Mapping[str, str]
    """Every cell as it is written, by column."""


@dataclass(frozen=True)
class Manifest:
    """A checked manifest."""

    path: Path
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, path: Path | str, where: Mapping[str, str] | None = None) -> Self:
        """Read and check a manifest.

        Args:
            path: a CSV with at least the columns file, label and patient_id; paths in it are relative to its folder.
            where: keep only rows whose cell in this column is this text, e.g. {"view_or_probe": "PA"}; a star stands
                for anything, e.g. {"file": "idc/*"}. Rows that are not kept are not checked.

        Raises:
            UsageError: "manifest", with the first ten problems and their line numbers; "bad-where", a column that is
                not there or leaves no row.
        """
        path = Path(path).absolute()
        header, lines = _table(path)
        kept = [(line, cells) for line, cells in lines if _kept(cells, where or {}, header)]
        if not kept:
            raise _nothing(path, [cells for _, cells in lines], where or {})
        rows = [_row(line, cells, path.parent) for line, cells in kept]
        problems = sorted([*_cells(rows), *_files(rows), *_patients(rows)])
        if problems:
            raise _refusal(path, [f"line {line}: {problem}" for line, problem in problems])
        return cls(path, tuple(rows))


def _table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and of each row the line where it begins and its cells by column."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:  # what follows cannot be told apart any more
            problems.append(f"line {line}: not CSV ({error}); quote the cell and double the quotes in it")
            break
        if not any(cell.strip() for cell in cells):
            continue  # an empty line holds nothing that could be lost
        if not header:
            header = [cell.strip() for cell in cells]
            problems += [f"line {line}: {problem}" for problem in _header_problems(header)]
            if problems:
                break
        elif len(cells) != len(header):
            problems.append(f"line {line}: {len(cells)} cells for {len(header)} columns")
        else:
            rows.append((line, dict(zip(header, cells, strict=True))))
    if problems:
        raise _refusal(path, problems)
    if not rows:
        raise _refusal(path, ["there are no rows"])
    return header, rows


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refusal(path, [f"it cannot be read ({os.strerror(error.errno or 0)})"]) from None
    try:
        return content.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refusal(path, [f"line {line}: not UTF-8; save the table as CSV UTF-8"]) from None


def _header_problems(header: list[str]) -> Iterator[str]:
    for name, sign in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and sign in header[0]:
            yield f"columns are separated by {name}; save the table with commas"
            return
    for name in NEEDED:
        if name not in header:
            yield f"there is no column {name!r}. {near(name, header)}"
    yield from (f"the column {name!r} is there twice" for name in sorted({n for n in header if header.count(n) > 1}))


def _kept(cells: Mapping[str, str], where: Mapping[str, str], header: list[str]) -> bool:
    for column in where:
        if column not in header:
            raise UsageError("bad-where", f"The manifest has no column {column!r}. {near(column, header)}")
    return all(_fits(cells[column].strip(), wanted.strip()) for column, wanted in where.items())


def _fits(cell: str, wanted: str) -> bool:
    return cell == wanted or ("*" in wanted and fnmatchcase(cell, wanted.replace("[", "[[]").replace("?", "[?]")))


def _nothing(path: Path, rows: list[dict[str, str]], where: Mapping[str, str]) -> UsageError:
    asked = ", ".join(f"{column}={wanted}" for column, wanted in where.items())
    known = [near(wanted, sorted({cells[column].strip() for cells in rows})[:20]) for column, wanted in where.items()]
    return UsageError("bad-where", f"No row of {path.name} has {asked}. {' '.join(known)}")


def _row(line: int, cells: dict[str, str], folder: Path) -> Row:
    stated = {name: cells.get(name, "").strip() for name in (*NEEDED, "exam", "study_id", "split")}
    file = folder / stated["file"]
    if "\\" in stated["file"] and not file.exists():  # written on Windows
        file = folder / stated["file"].replace("\\", "/")
    exam = stated["exam"] or stated["study_id"] or stated["file"]
    return Row(line, file.absolute(), stated["label"], stated["patient_id"], exam, stated["split"], cells)


def _cells(rows: list[Row]) -> Iterator[tuple[int, str]]:
    for row in rows:
        if not row.columns["file"].strip():
            yield row.line, "file is empty"
        elif not row.file.exists():
            yield row.line, f"there is no file {row.columns['file'].strip()}"
        if not row.label:
            yield row.line, "label is empty"
        if not row.patient_id:
            yield row.line, "patient_id is empty; without it nobody can keep a patient on one side of a split"
        elif row.patient_id.casefold() in NO_PATIENT:
            yield row.line, f"patient_id is {row.patient_id!r}, which names nobody"


def _files(rows: list[Row]) -> Iterator[tuple[int, str]]:
    """Rows that name the same file, or a file of a series that another row names as a folder."""
    seen: dict[str, int] = {}
    places = [(row, os.path.realpath(row.file)) for row in rows if row.columns["file"].strip()]
    for row, place in places:
        if place in seen:
            yield row.line, f"the file of line {seen[place]} once more"
        seen.setdefault(place, row.line)
    for row, place in places:
        folder = str(Path(place).parent)
        if folder in seen and row.file.is_file():
            yield row.line, f"a file of the series of line {seen[folder]} once more"


def _patients(rows: list[Row]) -> Iterator[tuple[int, str]]:
    """Patients who seem to be one, and exams that seem to be of two: either would undo a split by patient."""
    spelling: dict[str, str] = {}
    owner: dict[str, Row] = {}
    for row in rows:
        first = spelling.setdefault(_alike(row.patient_id), row.patient_id)
        if first != row.patient_id:
            yield row.line, f"patient_id {row.patient_id!r} and {first!r} look like one patient; write them alike"
        same = owner.setdefault(row.exam, row)
        if same.patient_id != row.patient_id:
            yield row.line, f"exam {row.exam!r} is of another patient in line {same.line}; give each its own exam"


def _alike(patient: str) -> str:
    """One text for ids that differ in case, in the kind of letter, or in the zeros that spreadsheets take away."""
    plain = unicodedata.normalize("NFKC", patient).casefold()
    return plain.lstrip("0") if plain.isdecimal() else plain


def _refusal(path: Path, problems: list[str]) -> UsageError:
    more = f" and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return UsageError("manifest", f"{path.name} has {count}: {'; '.join(problems[:MOST_SHOWN])}{more}.")
