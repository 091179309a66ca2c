"""A report as JSON: the words of the other reports, and the numbers behind them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from medcam.findings import Case
from medcam.record import Arrays
from medcam.reports._content import content
from medcam.reports._technique import PERSONAL
from medcam.reports.base import Context, Report

VERSION = 1


class JSONRecord(Report):
    """One JSON file per case: `report` is what a reader sees, `case` every number, `verdicts` all that was said."""

    name = "json_record"
    suffix = ".json"

    def write(self, case: Case, context: Context, folder: Path) -> list[Path]:
        arrays: Arrays = {}
        numbers = case.to_dict(arrays)
        ids = context.identifiers
        record: dict[str, Any] = {
            "medcam_report": VERSION,
            "created": context.created,
            "report": content(case, context).to_dict(),
            "case": numbers if ids is not None else _impersonal(numbers),
            "evidence": {name: _digest(values) for name, values in sorted(arrays.items())},
            "verdicts": [verdict.to_dict() for verdict in context.verdicts],
            "identifiers": None if ids is None else ids.to_dict(),
        }
        path = folder / f"{case.key}{self.suffix}"
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        return [path]


def _impersonal(numbers: dict[str, Any]) -> dict[str, Any]:
    return {**numbers, "facts": {name: value for name, value in numbers["facts"].items() if name not in PERSONAL}}


def _digest(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Enough to recognise an array, which itself stays in the results folder."""
    content = np.ascontiguousarray(values)
    return {
        "shape": list(values.shape),
        "dtype": str(values.dtype),
        "min": _finite(values.min()),
        "max": _finite(values.max()),
        "sha256": hashlib.sha256(content.tobytes()).hexdigest(),
    }


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
