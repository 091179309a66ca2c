"""Reports: what leaves medcam for people and for the archive, one folder per case."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from medcam.errors import ResultsError, UsageError
from medcam.findings import summary
from medcam.plugins import Shelf, near
from medcam.reports.base import DISCLAIMER, Context, Entry, Report
from medcam.results import Results
from medcam.storage import storage_errors

__all__ = ["DISCLAIMER", "SHELF", "Context", "Report", "write_reports"]

SHELF: Shelf[type[Report]] = Shelf("report", Path(__file__).parent, __name__)
"""The reports by name."""

Progress = Callable[[int, int], None]


def write_reports(
    results: Results,
    formats: Sequence[str],
    out: Path,
    *,
    include_identifiers: bool = False,
    cases: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write reports on cases of a results folder, with the verdicts that readers have given so far.

    Args:
        results: where the cases are.
        formats: names of `SHELF`; what one of them `needs` is written too.
        out: gets one folder per case, named after its key, and overviews over all cases.
        include_identifiers: put the patient's name, numbers and UIDs into the reports.
        cases: keys; by default all.
        progress: called after each case with how many are done and how many there are.

    Raises:
        UsageError: an unknown format, or there is no case.
        ResultsError: identifiers are asked for but were removed, or `out` cannot be written.
    """
    members = [SHELF.load(name)() for name in ordered(formats)]
    known = results.keys()
    keys = known if cases is None else list(cases)
    for key in keys:
        if key not in known:
            raise UsageError("unknown-case", f"There is no case {key!r}. {near(key, known)}")
    if not keys:
        raise UsageError("no-cases", f"{results.folder} holds no case to report; screen a folder first.")
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    written: list[Path] = []
    entries: list[Entry] = []
    with storage_errors(out):
        for done, key in enumerate(keys, start=1):
            entries.append(_report(results, key, members, out, created, include_identifiers))
            written += [path for paths in entries[-1].files.values() for path in paths]
            if progress is not None:
                progress(done, len(keys))
        for member in members:
            written += member.finish(entries, results.refusals(), out)
    return written


def ordered(formats: Sequence[str]) -> list[str]:
    """Names of reports without doubles, each after what it needs."""
    names: list[str] = []
    for asked in formats:
        name = full_name(asked)
        names += [other for other in (*ordered(SHELF.load(name).needs), name) if other not in names]
    return names


def full_name(asked: str) -> str:
    """The report meant by one word of its name, e.g. "sc" for dicom_sc, where only one has it; else as it was asked."""
    found = [name for name in SHELF.names() if asked in name.split("_")]
    return found[0] if len(found) == 1 else asked


def _report(
    results: Results, key: str, members: Sequence[Report], out: Path, created: str, include_identifiers: bool
) -> Entry:
    from medcam.reports._review import brief
    from medcam.review.verdicts import verdicts_of

    case = results.case(key)
    source = results.series(key) if include_identifiers else None
    if include_identifiers and source is None:
        message = "The identifiers of this results folder were removed; write the reports without identifiers."
        raise ResultsError("identifiers-removed", message)
    context = Context(
        results, created, verdicts_of(results.folder, key), source.identifiers if source else None, source
    )
    folder = out / key
    folder.mkdir(parents=True, exist_ok=True)
    for member in members:
        context.written[member.name] = member.write(case, context, folder)
    said, name = brief(context.verdicts), case.prediction.score_name
    return Entry(summary(case), case.patient_key, name, said, context.identifiers, context.written)
