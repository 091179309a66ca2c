"""The command line. Every command imports what it needs when it runs, so that help answers at once."""

import json
import sys
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from medcam.errors import MedcamError

app = typer.Typer(
    name="medcam",
    help="Explainable screening of medical images: DICOM folder in, reviewed report out. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class Exit(IntEnum):
    """Exit codes: 0 done, 2 not possible as asked, 3 done but eligible studies were refused or failed, 130 stopped."""

    DONE = 0
    USAGE = 2
    INCOMPLETE = 3
    STOPPED = 130


Pipelines = Annotated[
    list[str] | None, typer.Option("--pipeline", "-p", help="Only this pipeline; repeat for several. Default: all.")
]
AssumeAnatomy = Annotated[
    str | None,
    typer.Option(help="Vouch for the anatomy where tags are silent (chest, lung, breast). Never overrules a tag."),
]


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write archive, results and reports.")] = Path("demo"),
) -> None:
    """Make phantoms, screen them with every pipeline, write reports, and say how to open the reviewer."""
    from medcam.demo import run_demo

    run_demo(folder, _progress(), _say)


@app.command("sample-data")
def sample_data(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 0,
) -> None:
    """Write an archive of phantoms as DICOM, with the truth beside it (truth.json)."""
    from medcam.demo import write_phantoms

    truth = write_phantoms(out, seed)
    _say(f"{len(truth['studies'])} studies in {out}; what is in them: {out / 'truth.json'}")


@app.command()
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

    with _progress() as progress:
        intake = read_index(folder, workers=workers, progress=progress.stage("reading headers"))
    if as_json:
        intake = intake if include_identifiers else intake.without_identifiers()
        sys.stdout.write(json.dumps(intake.to_dict(), indent=1) + "\n")
        return
    in_series = {path for one in intake.series for path in one.files}
    for record in intake.files:
        if record.reason is not None and record.path not in in_series:
            _say(f"{record.status:8} {record.path}  {record.reason}")
    for one in intake.series:
        _say(
            f"{one.status:8} {one.description} ({_count(len(one.files), 'file')})"
            + (f"  {one.reason}" if one.reason else "")
        )
    for name, counts in intake.counts().items():
        _say(f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))


@app.command()
def screen(
    folder: Annotated[Path, typer.Argument(help="A folder of images: any depth, no file ending assumed.")],
    out: Annotated[Path, typer.Option("--out", help="The results folder; a run that was stopped goes on here.")],
    pipeline: Pipelines = None,
    model: Annotated[
        list[str] | None, typer.Option(help="PIPELINE=BUNDLE: another model than the demonstration one.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
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
    trust_code: Annotated[
        bool, typer.Option(help="Let a bundle run code of its own. Only for bundles you made.")
    ] = False,
) -> None:
    """Score every series that a pipeline accepts, explain each score, and keep all of it in one results folder."""
    from medcam.screening import Options
    from medcam.screening import screen as run

    options = Options(
        pipelines=tuple(pipeline or ()),
        models=dict(_pair(text) for text in model or ()),
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
    try:
        with _progress() as progress:
            outcome = run(folder, out, options, progress)
    except KeyboardInterrupt:
        message = "medcam: stopped. What is finished is kept; run the same command again to go on."
        typer.echo(message, err=True)
        raise typer.Exit(Exit.STOPPED) from None
    from medcam.tables import outcome_table

    _show(outcome_table(outcome))
    raise typer.Exit(_finish(outcome.incomplete and not dry_run))


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="An image, a cine or the folder of a series.")],
    model: Annotated[str, typer.Option(help="A bundle's folder, or module:factory of your own model.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the map (.nii.gz, .png) and its description (.json).")],
    method: Annotated[str, typer.Option(help="See medcam list methods.")] = "gradcam",
    target: Annotated[
        str, typer.Option(help="predicted, all, a label of the bundle, or the number of a class.")
    ] = "predicted",
    layer: Annotated[str, typer.Option(help="A module's name; auto takes the last map before pooling.")] = "auto",
    transform: Annotated[str | None, typer.Option(help="For a model that is not a medcam bundle.")] = None,
    trust_code: Annotated[bool, typer.Option(help="Needed for module:factory and for bundles that run code.")] = False,
) -> None:
    """Explain one image with one model, on the image's own grid."""
    from medcam.explaining import explain_file

    for path in explain_file(file, model, out, method, target, layer, transform, trust_code):
        _say(str(path))


@app.command()
def review(
    results: Annotated[Path, typer.Argument(help="A results folder.")],
    port: Annotated[int, typer.Option(help="On this machine only; nothing is reachable from outside.")] = 8501,
    source: Annotated[Path | None, typer.Option(help="Where the originals lie now, if they were moved.")] = None,
    hidden_first_read: Annotated[
        bool,
        typer.Option(help="For reader studies: show nothing of the AI before the reader has answered."),
    ] = False,
) -> None:
    """Open the reviewer in the browser: worklist, heatmaps beside originals, verdicts."""
    from medcam.review.server import serve

    raise typer.Exit(serve(results, port, source, hidden=hidden_first_read))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A results folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the reports.")],
    formats: Annotated[str, typer.Option("--format", help="Comma-separated; see medcam list reports.")] = "html,pdf",
    case: Annotated[list[str] | None, typer.Option(help="Only this case; repeat for several.")] = None,
    include_identifiers: Annotated[bool, typer.Option(help="Print who it is about. Off by default.")] = False,
    source: Annotated[Path | None, typer.Option(help="Where the originals lie now, if they were moved.")] = None,
) -> None:
    """Write reports of every case, with what reviewers said about it."""
    from medcam.reports import write_reports
    from medcam.results import Results

    found = Results.open(results, source)
    with _progress() as progress:
        wanted = [name.strip() for name in formats.split(",") if name.strip()]
        paths = write_reports(
            found, wanted, out, include_identifiers=include_identifiers, cases=case, progress=progress.stage("reports")
        )
    found.close()
    _say(f"{_count(len(paths), 'file')} in {out}")


@app.command("list")
def list_members(
    what: Annotated[str, typer.Argument(help="pipelines, methods, models, reports, readers, transforms")],
) -> None:
    """List the members of a shelf; each is one file."""
    from medcam.errors import UsageError
    from medcam.plugins import near
    from medcam.tables import member_table, shelves

    if what not in shelves():
        raise UsageError("unknown-shelf", f"There is nothing called {what!r} to list. {near(what, sorted(shelves()))}")
    _show(member_table(what))


def main() -> None:
    """Run the command line: one sentence for what goes wrong, never a traceback for what was foreseen."""
    try:
        app()
    except MedcamError as error:
        from medcam.tables import printable

        typer.echo(printable(f"medcam: {error}"), err=True)
        sys.exit(Exit.USAGE)


def _pair(text: str) -> tuple[str, str]:
    from medcam.errors import UsageError

    name, sign, value = text.partition("=")
    if not sign or not value:
        raise UsageError("bad-model", f"--model takes PIPELINE=BUNDLE, not {text!r}.")
    return name, value


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")


def _finish(incomplete: bool) -> int:
    return Exit.INCOMPLETE if incomplete else Exit.DONE


def _progress() -> Any:
    from medcam.progress import Progress

    return Progress()


def _say(text: str) -> None:
    from medcam.tables import printable

    typer.echo(printable(text))


def _show(table: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
