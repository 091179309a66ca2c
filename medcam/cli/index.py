"""medcam index: what a folder holds."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._terminal import count, progress_bars, say


def index(
    folder: Annotated[Path, typer.Argument(help="Any folder, any depth.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole intake as JSON on standard output.")] = False,
    include_identifiers: Annotated[
        bool, typer.Option(help="With --json: names, numbers and UIDs too. Off by default.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Parsing processes.", min=1)] = 2,
) -> None:
    """Say what a folder holds: every file and series, used, skipped or refused, each with its reason."""
    from medcam.readers import index as read_index

    with progress_bars() as progress:
        intake = read_index(folder, workers=workers, progress=progress.stage("reading headers"))
    if as_json:
        intake = intake if include_identifiers else intake.without_identifiers()
        sys.stdout.write(json.dumps(intake.to_dict(), indent=1) + "\n")
        return
    in_series = {path for one in intake.series for path in one.files}
    for record in intake.files:
        if record.reason is not None and record.path not in in_series:
            say(f"{record.status:8} {record.path}  {record.reason}")
    for one in intake.series:
        say(
            f"{one.status:8} {one.description} ({count(len(one.files), 'file')})"
            + (f"  {one.reason}" if one.reason else "")
        )
    for name, counts in intake.counts().items():
        say(f"{name}: " + ", ".join(f"{number} {status}" for status, number in counts.items()))
