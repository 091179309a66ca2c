"""The command line, a file for each command. Each imports what it needs when it runs, so that help answers at once."""

import sys

import typer

from medcam.cli._terminal import Exit
from medcam.cli.demo import demo, sample_data
from medcam.cli.evaluate import evaluate
from medcam.cli.explain import explain
from medcam.cli.index import index
from medcam.cli.members import list_members
from medcam.cli.report import report
from medcam.cli.reproduce import reproduce
from medcam.cli.review import review
from medcam.cli.screen import screen
from medcam.cli.train import train
from medcam.errors import MedcamError

app = typer.Typer(
    name="medcam",
    help="Explainable screening of medical images: DICOM folder in, reviewed report out. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(demo)
app.command("sample-data")(sample_data)
for _command in (index, screen, explain, train, evaluate, review, report, reproduce):
    app.command()(_command)
app.command("list")(list_members)


def main() -> None:
    """Run the command line: one sentence for what goes wrong, never a traceback for what was foreseen."""
    try:
        app()
    except MedcamError as error:
        from medcam.tables import printable

        typer.echo(printable(f"medcam: {error}"), err=True)
        sys.exit(Exit.USAGE)
