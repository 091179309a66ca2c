"""medcam report: reports of a results folder."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._options import Results, Source
from medcam.cli._terminal import count, progress_bars, say


def report(
    results: Results,
    out: Annotated[Path, typer.Option("--out", help="Folder for the reports.")],
    formats: Annotated[str, typer.Option("--format", help="Comma-separated; see medcam list reports.")] = "html,pdf",
    case: Annotated[list[str] | None, typer.Option(help="Only this case; repeat for several.")] = None,
    include_identifiers: Annotated[bool, typer.Option(help="Print who it is about. Off by default.")] = False,
    source: Source = None,
) -> None:
    """Write reports of every case, with what reviewers said about it."""
    from medcam.reports import write_reports
    from medcam.results import Results as Folder

    found = Folder.open(results, source)
    with progress_bars() as progress:
        wanted = [name.strip() for name in formats.split(",") if name.strip()]
        paths = write_reports(
            found, wanted, out, include_identifiers=include_identifiers, cases=case, progress=progress.stage("reports")
        )
    found.close()
    say(f"{count(len(paths), 'file')} in {out}")
