"""medcam reproduce: a published study again."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._terminal import progress_bars, say


def reproduce(
    protocol: Annotated[str, typer.Argument(help="A published study; see medcam list protocols.")],
    data: Annotated[Path, typer.Option(help="The folder of its data set, with manifest.csv.")],
    out: Annotated[Path, typer.Option("--out", help="The page of results (Markdown).")],
    work: Annotated[
        Path | None, typer.Option(help="Keeps networks and pixels; the same command goes on there. Default: OUT.work.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="As thorough as the paper: for machines with an accelerator.")
    ] = False,
) -> None:
    """Run a published study again, by its protocol, on its data, and write a page with what came out."""
    from medcam.protocols import SHELF
    from medcam.protocols.base import Setting, reproduce

    chosen = SHELF.load(protocol)()
    command = f"medcam reproduce {protocol} --data {data.name} --out {out.name}"
    with progress_bars() as progress:
        setting = Setting(data, work or out.with_name(f"{out.name}.work"), full, progress)
        reproduce(chosen, setting, out, command)
    say(str(out))
