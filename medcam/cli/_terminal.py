"""What every command says and how it ends: lines, tables, progress and exit codes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer


class Exit(IntEnum):
    """Exit codes: 0 done, 2 not possible as asked, 3 done but eligible studies were refused or failed, 130 stopped."""

    DONE = 0
    USAGE = 2
    INCOMPLETE = 3
    STOPPED = 130


def count(number: int, what: str) -> str:
    """A number of things in words: "3 files"."""
    return f"{number} {what}" + ("s" if number != 1 else "")


def finish(incomplete: bool) -> int:
    """The exit code of work that is done, or done but for what was refused or failed."""
    return Exit.INCOMPLETE if incomplete else Exit.DONE


def progress_bars() -> Any:
    """For long work; a context."""
    from medcam.progress import Progress

    return Progress()


def say(text: str) -> None:
    """A line on standard output, without what a terminal would obey."""
    from medcam.tables import printable

    typer.echo(printable(text))


def show(table: Any) -> None:
    """A table, as wide as the terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 160).print(table)


@contextmanager
def stoppable() -> Iterator[None]:
    """Work that keeps what is finished when Ctrl+C is pressed, and says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        message = "medcam: stopped. What is finished is kept; run the same command again to go on."
        typer.echo(message, err=True)
        raise typer.Exit(Exit.STOPPED) from None
