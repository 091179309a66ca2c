"""Files that survive a full disk and a killed process: written whole, flushed, locked while somebody writes."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from medcam.errors import ResultsError


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into one clear sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if any(word in str(error) for word in ("full", "disk I/O")):
            raise _full(folder) from error
        if any(word in str(error) for word in ("readonly", "unable to open")):
            raise _forbidden(folder, "its databases cannot be opened") from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _full(folder) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EPERM, errno.EEXIST):
            raise _forbidden(folder, error.strerror or "not allowed") from error
        raise
    except ResultsError as error:
        if error.code == "storage-failed":  # from the decoding process, which knows no folder
            raise _full(folder) from error
        raise


def _full(folder: Path) -> ResultsError:
    return ResultsError("disk-full", f"No space left for {folder}; free some and run again: nothing finished is lost.")


def _forbidden(folder: Path, why: str) -> ResultsError:
    return ResultsError("not-writable", f"{folder} cannot be written ({why}); choose another.")


def lock(folder: Path) -> sqlite3.Connection:
    """Hold the folder for this process; the operating system lets go when the process dies, however it dies."""
    connection = sqlite3.connect(folder / "writer.lock", timeout=0.5, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" not in str(error):
            raise
        raise ResultsError(
            "results-locked", f"Another medcam is writing to {folder}; wait until it is done."
        ) from error
    return connection


def connect(path: Path, tables: str) -> sqlite3.Connection:
    """A database with its tables made if missing, for use by several threads."""
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    connection.executescript(tables)
    return connection


def write(path: Path, content: bytes) -> None:
    """A file that is on the disk when this returns."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def write_whole(path: Path, content: bytes) -> None:
    """A file whose old content stays until the new one is whole and on the disk, whatever happens meanwhile."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part, content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    if os.name == "posix":  # Windows cannot open a folder, and flushes its entries by itself
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
