"""Prepared examples on the disk, one after the other in one file of float16, so that they are decoded only once."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from medcam.errors import ResultsError
from medcam.record import Record
from medcam.storage import lock, storage_errors

VALUE = np.dtype(np.float16)
SECONDS_BETWEEN_TRIES = 0.5
ROWS_BETWEEN_FLUSHES = 32


@dataclass(frozen=True)
class Source(Record):
    """What is known of a file before its transform: what may give a label away, and whose it is."""

    rows: int
    columns: int
    frames: int
    """Frames, slices or tiles; 1 for an image."""
    colour: bool
    mean: float
    """Of the stored values; of at most 16 planes of a volume or cine."""
    person: str = ""
    """Digest of the PatientID, birth date and sex in the header; empty where it names nobody."""
    study: str = ""
    """Digest of the StudyInstanceUID; empty where there is none."""


@dataclass(frozen=True)
class Entry(Record):
    """Where the examples of one file lie."""

    key: str
    """Digest of the file's content."""
    start: int
    """In values from the beginning of the pack."""
    shape: tuple[int, ...]
    """(n, C, *space)"""
    source: Source

    @property
    def values(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


class Pack:
    """The examples that one transform with one set of options made, in `folder`: `images.f16` and `index.jsonl`.

    A line enters the index when the values that it tells of are on the disk, so a process may be killed at any time;
    what it left half-written is written over. One process writes at a time, any number may read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "images.f16"
        self.entries: dict[str, Entry] = {}
        with storage_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # pixels of patients
            self.file.touch()
        self.refresh()

    def refresh(self) -> None:
        """Look at what other processes have added."""
        index, stored = self.folder / "index.jsonl", self.file.stat().st_size // VALUE.itemsize
        lines = index.read_bytes().split(b"\n")[:-1] if index.exists() else []  # the last one may be half a line
        for line in lines:
            entry = _entry(line)
            if entry is not None and entry.start + entry.values <= stored:
                self.entries[entry.key] = entry

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """Be the one who adds examples; waits until nobody else does.

        Raises:
            ResultsError: the disk is full or may not be written; what was added before is kept.
        """
        with storage_errors(self.folder), closing(_waited(self.folder)):
            self.refresh()
            end = max((entry.start + entry.values for entry in self.entries.values()), default=0)
            with self.file.open("r+b") as values, (self.folder / "index.jsonl").open("ab") as index:
                if index.tell() and not (self.folder / "index.jsonl").read_bytes().endswith(b"\n"):
                    index.write(b"\n")  # ends what a killed process began, so that it spoils no line of ours
                values.seek(end * VALUE.itemsize)
                values.truncate()
                writer = Writer(self, values, index, end)
                try:
                    yield writer
                finally:
                    writer.flush()

    def mapped(self) -> torch.Tensor:
        """(values,) float16, read from the file when it is looked at."""
        return mapped(self.file, self.file.stat().st_size // VALUE.itemsize)

    def read(self, entries: list[Entry]) -> torch.Tensor:
        """(values,) float16 of these entries, one after the other, in memory."""
        flat = np.empty(sum(entry.values for entry in entries), VALUE)
        at = 0
        with self.file.open("rb", buffering=0) as values:
            for entry in entries:
                values.seek(entry.start * VALUE.itemsize)
                part = flat[at : at + entry.values].data.cast("B")
                while len(part):
                    got = values.readinto(part)
                    if not got:
                        raise ResultsError("cache-damaged", f"{self.file} is shorter than its index; delete it.")
                    part = part[got:]
                at += entry.values
        return torch.from_numpy(flat)


class Writer:
    """Adds examples to a pack."""

    def __init__(self, pack: Pack, values: IO[bytes], index: IO[bytes], end: int) -> None:
        self._pack, self._values, self._index, self._end = pack, values, index, end
        self._waiting: list[Entry] = []

    def add(self, key: str, array: npt.NDArray[np.float16], source: Source) -> None:
        """Examples (n, C, *space) of a file."""
        entry = Entry(key, self._end, array.shape, source)
        self._values.write(np.ascontiguousarray(array).data)
        self._end += entry.values
        self._waiting.append(entry)
        if len(self._waiting) >= ROWS_BETWEEN_FLUSHES:
            self.flush()

    def flush(self) -> None:
        """Bring what was added to the disk, first the values, then the lines that tell of them."""
        self._values.flush()
        os.fsync(self._values.fileno())
        for entry in self._waiting:
            self._index.write(json.dumps(entry.to_dict()).encode() + b"\n")
        self._index.flush()
        self._pack.entries.update((entry.key, entry) for entry in self._waiting)
        self._waiting = []


def mapped(file: Path, values: int) -> torch.Tensor:
    """(values,) float16 of a file that is read when it is looked at, and never written."""
    return torch.from_file(str(file), shared=False, size=values, dtype=torch.float16)


def _entry(line: bytes) -> Entry | None:
    try:
        return Entry.from_dict(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # damaged: the file is decoded again


def _waited(folder: Path) -> Any:
    while True:
        try:
            return lock(folder)
        except ResultsError as error:
            if error.code != "results-locked":
                raise
            time.sleep(SECONDS_BETWEEN_TRIES)
