"""The intake: walks a folder, reads every header once, and says of every file and series what became of it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from medcam.readers._cache import Cache
from medcam.readers._facts import Pool
from medcam.readers._process import Decoder
from medcam.readers._shelf import SHELF
from medcam.readers._walk import Found, walk
from medcam.readers.base import Header
from medcam.study import FileRecord, Intake, Reason, SeriesRecord, Status

BATCH = 64
"""Files per request to a decoding subprocess."""


def index(
    folder: Path | str,
    *,
    cache: Path | None = None,
    workers: int = 2,
    decoders: Sequence[Decoder] = (),
    progress: Callable[[int, int], None] | None = None,
    without: Collection[Path] = (),
) -> Intake:
    """Everything below `folder`, or in one file: every file and every series, used, skipped or refused.

    Args:
        cache: an SQLite file for the headers, made if missing; it holds identifiers and is readable by its owner only.
        workers: how many subprocesses parse headers.
        decoders: subprocesses to use instead of new ones; the caller closes them.
        progress: called with (files done, files in all).
        without: folders and files that are left out in silence, such as a results folder.

    Raises:
        UsageError: `folder` does not exist or cannot be opened.
    """
    root = Path(folder).absolute()
    found = list(walk(root, {Path(path).absolute() for path in (*without, *([cache] if cache else []))}))
    with ExitStack() as ours:
        parsers = decoders or [ours.enter_context(Decoder()) for _ in range(max(workers, 1))]
        headers, records = _headers([item for item in found if isinstance(item, Found)], cache, parsers, progress)
    records.update((item.path, item) for item in found if isinstance(item, FileRecord))
    return assemble(root, headers, records)


def assemble(root: Path, headers: list[Header], records: dict[str, FileRecord]) -> Intake:
    """The intake of these headers, and of the files without one whose fate `records` tells by path."""
    series = _series(headers)
    fates = {header.path: _unclaimed(header.path) for header in headers} | records | _fates(series)
    return Intake(str(root), tuple(fates[path] for path in sorted(fates)), tuple(series))


def _headers(
    files: list[Found],
    cache: Path | None,
    decoders: Sequence[Decoder],
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Header], dict[str, FileRecord]]:
    """Headers of the files that have one, and the fate of the others, by path."""
    headers: list[Header] = []
    records: dict[str, FileRecord] = {}
    pool = Pool()
    done = 0

    def keep(outcome: Header | FileRecord) -> None:
        nonlocal done
        if isinstance(outcome, Header):
            headers.append(replace(outcome, facts=pool.facts(outcome.facts)))
        else:
            records[outcome.path] = outcome
        done += 1
        if progress is not None and (done % BATCH == 0 or done == len(files)):
            progress(done, len(files))

    with Cache(cache) as known:
        unknown = []
        for file in files:
            outcome = known.get(file.path, file.size_bytes, file.mtime_ns)
            if outcome is None:
                unknown.append(file)
            else:
                keep(outcome)
        for batch, outcomes in _parsed(unknown, decoders):
            for file, outcome in zip(batch, outcomes, strict=True):
                known.put(file.path, file.size_bytes, file.mtime_ns, outcome)
                keep(outcome)
    headers.sort(key=lambda header: header.path)
    return headers, records


def _parsed(files: list[Found], decoders: Sequence[Decoder]) -> Iterator[tuple[list[Found], list[Header | FileRecord]]]:
    """Batches of files with their outcomes, each from whichever subprocess is idle."""
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    idle: SimpleQueue[Decoder] = SimpleQueue()
    for decoder in decoders:
        idle.put(decoder)

    def parse(batch: list[Found]) -> list[Header | FileRecord]:
        decoder = idle.get()
        try:
            return decoder.headers([Path(file.path) for file in batch])
        finally:
            idle.put(decoder)

    pool = ThreadPoolExecutor(len(decoders), thread_name_prefix="medcam-index")
    try:
        yield from zip(batches, pool.map(parse, batches), strict=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # whoever closes the decoders ends what still runs


def _series(headers: list[Header]) -> list[SeriesRecord]:
    """What the readers make of their headers, in the order of first files."""
    by_reader: dict[str, list[Header]] = {}
    for header in headers:
        by_reader.setdefault(header.reader, []).append(header)
    series = [record for name in sorted(by_reader) for record in SHELF.load(name)().series(by_reader[name])]
    return sorted(series, key=lambda record: (min(record.files, default=""), record.description))


def _fates(series: list[SeriesRecord]) -> dict[str, FileRecord]:
    """The fate of each file that belongs to a series; the best one, where it belongs to several."""
    rank: dict[Status, int] = {"skipped": 0, "refused": 1, "used": 2}
    fates: dict[str, FileRecord] = {}
    for record in series:
        for path in record.files:
            if path not in fates or rank[record.status] > rank[fates[path].status]:
                fates[path] = FileRecord(path, record.status, None if record.status == "used" else record.reason)
    return fates


def _unclaimed(path: str) -> FileRecord:
    return FileRecord(path, "refused", Reason("malformed", "its header fits no series"))
