"""The examples of a manifest's rows: from the pack where they are known, else decoded into it."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from medcam.data._decoding import Made, decode
from medcam.data._keys import file_key
from medcam.data._pack import Entry, Pack, Writer
from medcam.data.manifest import Row
from medcam.errors import InputError, UsageError
from medcam.progress import Tick


@dataclass
class Loading:
    """The rows' examples, from the pack where they are known, else decoded into it."""

    pack: Pack
    transform: str
    options: Mapping[str, Any]
    frames: bool
    workers: int
    progress: Tick | None

    def entries(self, rows: Sequence[Row]) -> list[Entry | InputError]:
        """Where each row's examples lie, or why there are none."""
        keys = [_key(row) for row in rows]
        by_key = {key: row for key, row in zip(keys, rows, strict=True) if isinstance(key, str)}
        refused: dict[str, InputError] = {}
        if any(key not in self.pack.entries for key in by_key):
            with self.pack.writing() as writer:
                refused = self._decode(by_key, writer)
        elif self.progress is not None:
            self.progress(len(rows), len(rows))
        _refuse_mixed((row, self.pack.entries[key].shape) for key, row in by_key.items() if key not in refused)
        return [key if isinstance(key, InputError) else refused.get(key) or self.pack.entries[key] for key in keys]

    def _decode(self, by_key: Mapping[str, Row], writer: Writer) -> dict[str, InputError]:
        todo = {key: row for key, row in by_key.items() if key not in self.pack.entries}
        refused: dict[str, InputError] = {}
        first: tuple[Row, tuple[int, ...]] | None = None
        files = [row.file for row in todo.values()]
        with _scratch(self.pack.folder / "decoding") as scratch, closing(self._results(files, scratch)) as results:
            for done, (key, result) in enumerate(zip(todo, results, strict=True), len(by_key) - len(todo) + 1):
                if isinstance(result, InputError):
                    refused[key] = result
                else:
                    writer.add(key, result.values, result.source)
                    first = first or (todo[key], result.values.shape)
                    _refuse_mixed([first, (todo[key], result.values.shape)])  # now, not after hours of decoding
                if self.progress is not None:
                    self.progress(done, len(by_key))
        return refused

    def _results(self, files: Sequence[Path], scratch: Path) -> Generator[Made | InputError, None, None]:
        return decode(
            files, self.transform, self.options, frames=self.frames, workers=max(self.workers, 1), scratch=scratch
        )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    rmtree(folder, ignore_errors=True)  # a killed process may have left decoded pixels in it
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def _key(row: Row) -> str | InputError:
    try:
        return file_key(row.file)
    except OSError as error:
        return InputError("unreadable", error.strerror or "cannot be read")


def _refuse_mixed(shapes: Iterable[tuple[Row, tuple[int, ...]]]) -> None:
    first: tuple[Row, tuple[int, ...]] | None = None
    for row, shape in shapes:
        if first is None:
            first = row, shape
        elif shape[1:] != first[1][1:]:
            colour = shape[2:] == first[1][2:]
            sizes = " and ".join(f"{' x '.join(map(str, s[1:]))} (line {r.line})" for r, s in (first, (row, shape)))
            advice = (
                "give only grey or only colour images, or a transform that makes one of both"
                if colour
                else "take a transform that gives one size, and parts frames for cines"
            )
            raise UsageError("mixed-colour" if colour else "mixed-size", f"Images become {sizes}; {advice}.")
