"""medcam screen: a folder in, a results folder out."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._options import AssumeAnatomy, Device, Pipelines, TrustCode
from medcam.cli._terminal import finish, progress_bars, show, stoppable
from medcam.cli._words import pairs


def screen(
    folder: Annotated[Path, typer.Argument(help="A folder of images: any depth, no file ending assumed.")],
    out: Annotated[Path, typer.Option("--out", help="The results folder; a run that was stopped goes on here.")],
    pipeline: Pipelines = None,
    model: Annotated[
        list[str] | None, typer.Option(help="PIPELINE=BUNDLE: another model than the demonstration one.")
    ] = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Images or tiles per forward pass.", min=1)] = 8,
    workers: Annotated[int, typer.Option(help="Parsing and decoding processes.", min=1)] = 2,
    limit: Annotated[int | None, typer.Option(help="Stop after so many new series.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be scored, and score nothing.")] = False,
    force: Annotated[bool, typer.Option(help="Score again what is already there.")] = False,
    copy_pixels: Annotated[bool, typer.Option(help="Keep the source's pixels in the results folder.")] = False,
    assume_anatomy: AssumeAnatomy = None,
    uncertainty: Annotated[
        str | None, typer.Option(help="augmentation, dropout or none. Default: what the pipeline says.")
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Score every series that a pipeline accepts, explain each score, and keep all of it in one results folder."""
    from medcam.screening import Options
    from medcam.screening import screen as run

    options = Options(
        pipelines=tuple(pipeline or ()),
        models=pairs(model, "--model", "PIPELINE=BUNDLE"),
        device=device,
        batch_size=batch_size,
        workers=workers,
        limit=limit,
        dry_run=dry_run,
        force=force,
        copy_pixels=copy_pixels,
        assume_anatomy=assume_anatomy,
        uncertainty=uncertainty,
        trust_code=trust_code,
    )
    with stoppable(), progress_bars() as progress:
        outcome = run(folder, out, options, progress)
    from medcam.tables import outcome_table

    show(outcome_table(outcome))
    raise typer.Exit(finish(outcome.incomplete and not dry_run))
