"""How long work is shown: a bar on a terminal, plain lines elsewhere, nothing where nobody looks."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

SECONDS_BETWEEN_LINES = 10.0

Tick = Callable[[int, int], None]
"""Called with what is done and the total."""


class Progress:
    """Stages of one command, shown on standard error so that standard output stays data."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bars = Bars(*columns, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def plain(self) -> "Progress":
        """The same without bars, for another process."""
        return Progress(self._quiet)

    def say(self, line: str) -> None:
        """A line that stays, above the bars where there are any."""
        if self._bars is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        elif not self._quiet:
            print(line, file=sys.stderr, flush=True)

    def stage(self, name: str) -> Tick:
        """A new stage; call the result with (done, total)."""
        if self._quiet:
            return lambda done, total: None
        if self._bars is not None:
            bars, task = self._bars, self._bars.add_task(name, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)
        return _Lines(name)


class _Lines:
    """One line now and then, and one when all is done."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            print(f"{self._name}: {done} of {total}", file=sys.stderr, flush=True)
