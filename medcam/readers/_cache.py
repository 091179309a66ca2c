"""Headers of files that have not changed since they were read, in one SQLite file."""

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

import medcam
from medcam.readers.base import Header
from medcam.study import FileRecord

PASSING = ("timeout", "decoder-crashed", "too-large", "unreadable")
"""Reasons that may be gone at the next run, and are not remembered."""


class Cache:
    """Outcomes by path, size and time of change, as long as the readers are the same.

    `path` None keeps nothing. A damaged file is made anew; one that cannot be written is done without: a cache may
    cost time but never a run.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._table: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._table = _opened(self._path)
            except (OSError, sqlite3.OperationalError):
                self._table = None  # no permission, no space, or in use for too long
            except sqlite3.DatabaseError:
                with contextlib.suppress(OSError, sqlite3.Error):
                    for part in ("", "-wal", "-shm"):
                        self._path.with_name(self._path.name + part).unlink(missing_ok=True)
                    self._table = _opened(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._table is not None:
            with contextlib.suppress(sqlite3.Error):
                self._table.commit()
            self._table.close()

    def get(self, path: str, size_bytes: int, mtime_ns: int) -> Header | FileRecord | None:
        """What was read from this file when it was as it is now, or None."""
        if self._table is None:
            return None
        try:
            row = self._table.execute(
                "SELECT header, plain FROM headers_1 WHERE path = ? AND size = ? AND mtime = ? AND readers = ?",
                (os.fsencode(path), size_bytes, mtime_ns, readers_version()),
            ).fetchone()
            return None if row is None else _outcome(row[0], json.loads(row[1]))
        except (sqlite3.Error, ValueError, TypeError, KeyError):
            return None  # a damaged page or row: the file is simply read again

    def put(self, path: str, size_bytes: int, mtime_ns: int, outcome: Header | FileRecord) -> None:
        """Remember what was read."""
        if self._table is None or (isinstance(outcome, FileRecord) and _passing(outcome)):
            return
        plain = json.dumps(outcome.to_dict(), separators=(",", ":"))
        row = (os.fsencode(path), size_bytes, mtime_ns, readers_version(), isinstance(outcome, Header), plain)
        try:
            self._table.execute("INSERT OR REPLACE INTO headers_1 VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error:  # a full disk, say
            self._table.close()
            self._table = None


@functools.cache
def readers_version() -> str:
    """Changes with the code of the readers, so that nothing stale is believed."""
    digest = hashlib.sha256(medcam.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    table = sqlite3.connect(path, timeout=10)
    try:
        table.execute("PRAGMA journal_mode = WAL")
        table.execute("PRAGMA synchronous = OFF")
        table.execute(
            "CREATE TABLE IF NOT EXISTS headers_1 (path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, readers TEXT,"
            " header INTEGER, plain TEXT) WITHOUT ROWID"
        )
        table.execute("DELETE FROM headers_1 WHERE readers <> ?", (readers_version(),))
    except sqlite3.Error:
        table.close()
        raise
    return table


def _outcome(is_header: int, plain: dict[str, object]) -> Header | FileRecord:
    return Header(**plain) if is_header else FileRecord.from_dict(plain)  # type: ignore[arg-type]  # JSON of our own


def _passing(record: FileRecord) -> bool:
    return record.reason is not None and record.reason.code in PASSING
