"""What readers said, for good: `verdicts.sqlite` in the results folder, append-only, many writers, chained by hashes.

Entries are verdicts and locked first reads. The database itself refuses to change or remove one; each entry's digest
covers the entry before it, so that a change made behind the database's back is seen. What a chain cannot show is that
its last entries were cut off: compare the head that `check_chain` returns with one noted elsewhere, such as a report's.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from medcam.errors import ResultsError, UsageError
from medcam.findings import Agreement, Verdict
from medcam.record import Record
from medcam.results import check_layout
from medcam.storage import storage_errors

FILE = "verdicts.sqlite"

FirstAnswer = Literal["present", "absent", "uncertain"]

# A rollback journal, not WAL: results folders lie on network drives, where WAL loses data. The last trigger also stops
# INSERT OR REPLACE, which would delete a row without asking the second.
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, case_key TEXT NOT NULL, content TEXT NOT NULL,
    digest TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_case ON entries (case_key, kind);
CREATE TRIGGER IF NOT EXISTS never_changed BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END;
CREATE TRIGGER IF NOT EXISTS never_removed BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END;
CREATE TRIGGER IF NOT EXISTS only_appended BEFORE INSERT ON entries
    WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM entries)
    BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END;
COMMIT;
"""


@dataclass(frozen=True)
class FirstRead(Record):
    """What a reader saw in the images alone, locked before the AI was shown."""

    case_key: str
    reader: str
    answer: FirstAnswer
    time: str = ""
    """UTC, ISO 8601."""


@dataclass(frozen=True)
class Chain(Record):
    """The state of an unbroken chain."""

    entries: int
    head: str
    """Digest of the last entry; it stands for all of them."""


def add_verdict(folder: Path, verdict: Verdict) -> Verdict:
    """Append a verdict and return it as stored.

    The time is stamped here; so are the model's version and hash where the verdict leaves them empty, and the answer
    of the reader's locked first read if there is one.

    Args:
        folder: the results folder.
        verdict: with a `first_read` only if that answer was locked before.

    Raises:
        UsageError: no reader, an unknown agreement or case, or a first read that was not locked as stated.
        ResultsError: not a results folder, or it cannot be written.
    """
    reader = named_reader(verdict.reader)
    if verdict.agreement not in get_args(Agreement):
        raise UsageError("unknown-agreement", f"A verdict is {' or '.join(get_args(Agreement))}, nothing else.")
    model = _case(folder, verdict.case_key)["provenance"]
    version, model_hash = verdict.model_version or model["model_version"], verdict.model_hash or model["model_hash"]
    with _appending(folder) as connection:
        locked = _first_read(connection, verdict.case_key, reader)
        answer = locked.answer if locked else ""
        if verdict.first_read and verdict.first_read != answer:
            message = "Lock the first read before the AI is shown; a verdict cannot state another one afterwards."
            raise UsageError("first-read-not-locked", message)
        stored = replace(
            verdict, reader=reader, time=_now(), model_version=version, model_hash=model_hash, first_read=answer
        )
        _append(connection, "verdict", stored.case_key, stored)
    return stored


def lock_first_read(folder: Path, case_key: str, reader: str, answer: FirstAnswer) -> FirstRead:
    """Append what a reader sees without the AI; it cannot be changed, and must come before their first verdict.

    Raises:
        UsageError: no reader, an unknown answer or case, already locked, or the reader has judged the case before.
        ResultsError: not a results folder, or it cannot be written.
    """
    reader = named_reader(reader)
    if answer not in get_args(FirstAnswer):
        raise UsageError("unknown-answer", f"A first read says {' or '.join(get_args(FirstAnswer))}, nothing else.")
    _case(folder, case_key)
    with _appending(folder) as connection:
        if _first_read(connection, case_key, reader) is not None:
            raise UsageError("already-locked", f"{reader} has locked a first read of this case; it stands.")
        if any(verdict.reader == reader for verdict in _verdicts(connection, case_key)):
            message = f"{reader} has judged this case with the AI in view; a first read would not be a first one."
            raise UsageError("already-seen", message)
        stored = FirstRead(case_key, reader, answer, _now())
        _append(connection, "first read", case_key, stored)
    return stored


def first_read(folder: Path, case_key: str, reader: str) -> FirstRead | None:
    """The reader's locked first read of a case, if there is one."""
    with _reading(folder) as connection:
        return None if connection is None else _first_read(connection, case_key, reader.strip())


def verdicts_of(folder: Path, case_key: str) -> tuple[Verdict, ...]:
    """All verdicts on a case, oldest first."""
    with _reading(folder) as connection:
        return () if connection is None else _verdicts(connection, case_key)


def all_verdicts(folder: Path) -> tuple[Verdict, ...]:
    """All verdicts of the folder, oldest first."""
    with _reading(folder) as connection:
        return () if connection is None else _verdicts(connection)


def check_chain(folder: Path) -> Chain:
    """Follow the chain from its first entry to its head.

    Raises:
        ResultsError: an entry was changed, removed or put in since it was written, or the database is damaged.
    """
    previous, count = "", 0
    with _reading(folder) as connection:
        rows = [] if connection is None else connection.execute("SELECT * FROM entries ORDER BY number")
        for number, kind, case_key, content, digest in rows:
            count += 1
            if number != count or digest != _digest(previous, number, kind, case_key, content):
                message = f"Entry {count} of {FILE} is not as it was written; restore the file from a copy."
                raise ResultsError("verdicts-changed", message)
            previous = digest
    return Chain(count, previous)


def named_reader(name: str) -> str:
    """The reader's name without outer blanks.

    Raises:
        UsageError: it is empty, or not one printable line.
    """
    name = name.strip()
    if not name:
        raise UsageError("no-reader", "Enter your name: nothing is saved without a reader.")
    if not name.isprintable() or len(name) > 100:
        raise UsageError("bad-reader", "A reader's name is one printable line of at most 100 characters.")
    return name


def _case(folder: Path, key: str) -> dict[str, Any]:
    check_layout(folder)
    path = folder / "cases" / key / "case.json"
    if Path(key).name != key or not path.is_file():
        raise UsageError("unknown-case", f"There is no case {key!r} in {folder}.")
    case: dict[str, Any] = json.loads(path.read_text())
    return case


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextlib.contextmanager
def _appending(folder: Path) -> Iterator[sqlite3.Connection]:
    """One transaction that no other writer can enter: what is checked in it still holds when the entry is written."""
    with storage_errors(folder), _open(folder, "rwc") as connection:
        connection.executescript(_TABLES)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection | None]:
    check_layout(folder)
    if not (folder / FILE).exists():
        yield None
        return
    with _open(folder, "rw") as connection:
        created = connection.execute("SELECT 1 FROM sqlite_master WHERE name='entries'").fetchone()
        yield connection if created else None


@contextlib.contextmanager
def _open(folder: Path, mode: str) -> Iterator[sqlite3.Connection]:
    address = f"{(folder / FILE).resolve().as_uri()}?mode={mode}"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=30, isolation_level=None)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise ResultsError("verdicts-busy", f"{FILE} is in use by another program; try again.") from error
        if "unable to open" in str(error) or "readonly" in str(error):
            raise ResultsError("not-writable", f"{folder / FILE} cannot be opened or written.") from error
        if isinstance(error, sqlite3.OperationalError):
            raise  # a full disk: `storage_errors` has the sentence
        raise ResultsError("verdicts-damaged", f"{FILE} is damaged ({error}); restore it from a copy.") from error


def _append(connection: sqlite3.Connection, kind: str, case_key: str, entry: Record) -> None:
    last = connection.execute("SELECT number, digest FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (last[0] + 1, last[1]) if last else (1, "")
    content = json.dumps(entry.to_dict())
    row = (number, kind, case_key, content, _digest(previous, number, kind, case_key, content))
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", row)


def _digest(previous: str, number: int, kind: str, case_key: str, content: str) -> str:
    return hashlib.sha256(json.dumps([previous, number, kind, case_key, content]).encode()).hexdigest()


def _verdicts(connection: sqlite3.Connection, case_key: str | None = None) -> tuple[Verdict, ...]:
    where, values = ("AND case_key=?", (case_key,)) if case_key is not None else ("", ())
    rows = connection.execute(f"SELECT content FROM entries WHERE kind='verdict' {where} ORDER BY number", values)  # noqa: S608  # no value in the text
    return tuple(Verdict.from_dict(json.loads(content)) for (content,) in rows)


def _first_read(connection: sqlite3.Connection, case_key: str, reader: str) -> FirstRead | None:
    rows = connection.execute("SELECT content FROM entries WHERE kind='first read' AND case_key=?", (case_key,))
    reads = (FirstRead.from_dict(json.loads(content)) for (content,) in rows)
    return next((read for read in reads if read.reader == reader), None)
