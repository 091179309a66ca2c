"""The demonstration: phantoms, screening with every pipeline, reports, and the way to the reviewer."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from medcam.errors import UsageError
from medcam.plugins import locate
from medcam.progress import Progress
from medcam.results import Results
from medcam.storage import storage_errors

FORMATS = ("html", "pdf", "json_record", "dicom_sc")


def run_demo(folder: Path, progress: Progress, say: Callable[[str], None]) -> None:
    """Everything from phantoms to reports below `folder`; what is there already is not made again.

    The archive holds some series that have to be refused.
    """
    from rich.console import Console

    from medcam.reports import write_reports
    from medcam.screening import Options, screen
    from medcam.tables import outcome_table

    archive, results, reports = folder / "archive", folder / "results", folder / "reports"
    if not (archive / "truth.json").exists():
        say(f"writing phantoms to {archive}")
        write_phantoms(archive)
    with progress:
        outcome = screen(archive / "dicom", results, Options(), progress)
        Console(width=None if sys.stdout.isatty() else 160).print(outcome_table(outcome))
        if _older(reports / "index.html", results / "cases"):
            found = Results.open(results)
            written = write_reports(found, FORMATS, reports, progress=progress.stage("reports"))
            found.close()
            say(f"{len(written)} files in {reports}; begin with {reports / 'index.html'}")
    say(f"Open the reviewer:  {_command()} review {results}")


def _older(overview: Path, cases: Path) -> bool:
    """Whether the overview, which is written last of all reports, lacks or was written before some case."""
    newest = max((case.stat().st_mtime for case in cases.iterdir()), default=0.0)
    return not overview.exists() or overview.stat().st_mtime < newest


def write_phantoms(out: Path, seed: int = 0) -> dict[str, Any]:
    """An archive of phantoms in a new or empty folder, written whole or not at all; returns the truth.

    Raises:
        UsageError: the folder holds something else, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("not-empty", f"{out} is not empty; choose a new folder for the phantoms.")
    part = out.with_name(f".{out.name}.part")
    with storage_errors(out):
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        phantoms("archive").write_archive(part, seed=seed)
        if out.exists():
            out.rmdir()
        part.rename(out)
    truth: dict[str, Any] = json.loads((out / "truth.json").read_text())
    return truth


def phantoms(module: str) -> ModuleType:
    """A module of sample_data, wherever this installation keeps it."""
    parent = str(locate("sample_data").parent)
    if parent not in sys.path:
        sys.path.append(parent)
    return importlib.import_module(f"sample_data.{module}")


def _command() -> str:
    """How this medcam was called, so that the printed command works as it is."""
    beside = Path(sys.executable).with_name("medcam")
    shown = beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside
    return str(shown) if beside.exists() and shutil.which("medcam") != str(beside) else "medcam"
