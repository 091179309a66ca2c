"""Which files a folder holds, in a stable order and without following links."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from medcam.errors import UsageError
from medcam.study import FileRecord, Reason


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file as it is now."""

    path: str
    size_bytes: int
    mtime_ns: int


def walk(root: Path, without: Collection[Path] = ()) -> Iterator[Found | FileRecord]:
    """Regular files below `root`, or `root` itself; and the fate of what cannot be opened or is not looked at.

    Raises:
        UsageError: `root` does not exist or cannot be opened.
    """
    if root.is_file():
        yield _found(root)
        return
    if not root.is_dir():
        raise UsageError("no-folder", f"There is no folder {root}; check the path.")
    try:
        waiting = [_listed(root)]
    except OSError as error:
        message = f"The folder {root} cannot be read ({os.strerror(error.errno or 0)}); check its permissions."
        raise UsageError("unreadable-folder", message) from None
    left_out = {str(path) for path in without}
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif entry.path in left_out:
            continue
        elif entry.is_dir(follow_symlinks=False):
            try:
                waiting.append(_listed(Path(entry.path)))
            except OSError as error:
                yield _refused(entry.path, error)
        else:
            yield _fate(entry)


def _listed(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return iter(sorted(entries, key=lambda entry: entry.name))


def _fate(entry: "os.DirEntry[str]") -> Found | FileRecord:
    if entry.is_symlink():
        return FileRecord(entry.path, "skipped", Reason("symbolic-link"))
    if not entry.is_file(follow_symlinks=False):
        return FileRecord(entry.path, "skipped", Reason("not-an-image", "not a regular file"))
    if entry.name.upper() == "DICOMDIR":
        return FileRecord(entry.path, "skipped", Reason("no-pixels", "a directory of other files"))
    return _found(Path(entry.path))


def _found(path: Path) -> Found | FileRecord:
    try:
        facts = path.stat()
    except OSError as error:
        return _refused(str(path), error)
    return Found(str(path), facts.st_size, facts.st_mtime_ns)


def _refused(path: str, error: OSError) -> FileRecord:
    return FileRecord(path, "refused", Reason("unreadable", os.strerror(error.errno or 0)))
