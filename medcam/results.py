"""The results folder, layout 1: the contract between screening, review and reports.

medcam-results.json    layout version
cases/<key>/           case.json and evidence.npz are the truth; key images; pixels.npy with --copy-pixels
index.sqlite           one row per case and refusal; can be rebuilt from the cases
verdicts.sqlite        what readers said; append-only, many writers (medcam.review.verdicts)
identifiers.sqlite     secret, UIDs, patient ids and source paths (mode 0600)
identifiers-headers.sqlite   headers as they were read, so that the next run is quick (mode 0600); remove both, and
                       nothing in the folder leads back to a patient any more
staging/               half-written cases of a run that was stopped; swept when the next one begins
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medcam.errors import REASONS, InputError, ResultsError
from medcam.findings import Case, Refusal, summary
from medcam.record import Arrays
from medcam.storage import connect, flush_folder, lock, storage_errors, write, write_whole
from medcam.study import Identifiers, Intake, Pixels, Reason, Series

if TYPE_CHECKING:
    from medcam.readers import Decoder

LAYOUT = 1
MARK = "medcam-results.json"
_BEGINNINGS = {
    *("cases", "staging", f"{MARK}.part"),
    *("identifiers.sqlite", "identifiers.sqlite-journal", "writer.lock", "writer.lock-journal"),
}
"""What a folder can hold whose making was interrupted."""

_INDEX = """
CREATE TABLE IF NOT EXISTS cases (
    key TEXT PRIMARY KEY, pipeline TEXT, pipeline_hash TEXT, model_hash TEXT, source_stamp TEXT, modality TEXT,
    finding TEXT, decision TEXT, outcome TEXT, score REAL, threshold REAL, score_sd REAL, place TEXT, phantom INTEGER);
CREATE TABLE IF NOT EXISTS refusals (
    study_key TEXT, series_key TEXT, pipeline TEXT, description TEXT, status TEXT, code TEXT, detail TEXT,
    PRIMARY KEY (series_key, pipeline));
"""
_INSERT = "INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SUMMARY = """
SELECT key AS "case", pipeline, finding, modality, decision, score, score_sd, place AS "where" FROM cases WHERE key=?
"""
_IDENTIFIERS = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS sources (key TEXT PRIMARY KEY, series TEXT);
"""


class Results:
    """One results folder. `Results.open` reads it; `Results.writer` is the one process that screens into it."""

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        self.folder = folder
        self._source = source
        self._one_at_a_time = threading.RLock()
        self._decoder: Decoder | None = None
        self._index = connect(folder / "index.sqlite", _INDEX)
        self._identifiers: sqlite3.Connection | None = None
        if (folder / "identifiers.sqlite").exists():
            self._identifiers = connect(folder / "identifiers.sqlite", _IDENTIFIERS)

    @classmethod
    def open(cls, folder: Path, source: Path | None = None) -> "Results":
        """An existing folder, for reading.

        Args:
            folder: the results folder.
            source: where the originals lie now, if they were moved since the screening.

        Raises:
            ResultsError: it is not a results folder, or of another layout.
        """
        check_layout(folder)
        return cls(folder, source)

    @classmethod
    @contextlib.contextmanager
    def writer(cls, folder: Path) -> Iterator["Results"]:
        """The folder for the one process that screens into it; made if new, swept if a run was stopped in the middle.

        Raises:
            ResultsError: another layout, another process is writing, its identifiers were removed, or no space is left.
        """
        with storage_errors(folder):
            _refuse_foreign(folder)
            folder.mkdir(parents=True, exist_ok=True)
            held = lock(folder)
            try:
                _create(folder)
                with contextlib.closing(cls(folder)) as results:
                    results._recover()
                    yield results
            finally:
                held.close()

    def close(self) -> None:
        """Close the databases."""
        self._index.close()
        if self._decoder is not None:
            self._decoder.close()
            self._scratch.cleanup()
            self._decoder = None
        if self._identifiers is not None:
            self._identifiers.close()

    # keys: nothing that leaves the folder leads back to a patient without its secret

    def pseudonym(self, *parts: str) -> str:
        """A keyed hash of identifying text: the same within this folder, meaningless outside."""
        secret = bytes.fromhex(self._fact("secret"))
        return hmac.new(secret, "\0".join(parts).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:12]

    def study_key(self, series: Series) -> str:
        """The pseudonym of a series' study."""
        return self.pseudonym("study", *series.study)

    def patient_key(self, series: Series) -> str:
        """The pseudonym of a series' patient; of the study where no patient is named."""
        patient = series.identifiers.patient_id
        return self.pseudonym("patient", patient) if patient else self.study_key(series)

    def case_key(self, series: Series, pipeline: str) -> str:
        """The name of the case's folder."""
        return f"{self.study_key(series)}-{self.series_key(series)}-{pipeline}"

    def series_key(self, series: Series) -> str:
        """The pseudonym of a series."""
        first = series.files[0]
        return self.pseudonym("series", series.identifiers.series_uid, first.sop_instance_uid or first.path)

    # writing

    def finished(self, key: str, pipeline_hash: str, model_hash: str, series: Series) -> bool:
        """Whether this very question was already answered about these very files."""
        wanted = (key, pipeline_hash, model_hash, stamp(series))
        sql = "SELECT 1 FROM cases WHERE key=? AND pipeline_hash=? AND model_hash=? AND source_stamp=?"
        return self._index.execute(sql, wanted).fetchone() is not None

    def add(self, case: Case, series: Series, pictures: Mapping[str, bytes], pixels: Pixels | None = None) -> None:
        """Store a finished case, all of it or nothing: staged, flushed to disk, renamed, then indexed.

        Args:
            case: the answer.
            series: its source, kept in `identifiers.sqlite` only.
            pictures: PNG bytes by the file names in `case.key_images`.
            pixels: a copy of the source's values, to make the folder self-sufficient.
        """
        staged = self.folder / "staging" / f"{case.key}.{secrets.token_hex(4)}"
        staged.mkdir()
        arrays: Arrays = {}
        data = {"layout": LAYOUT, "source_stamp": stamp(series), **case.to_dict(arrays)}
        write(staged / "case.json", json.dumps(data, indent=1).encode())
        with (staged / "evidence.npz").open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for allow_pickle
            os.fsync(stream.fileno())
        for name, content in pictures.items():
            write(staged / name, content)
        if pixels is not None:
            _copy_pixels(staged, pixels)
        self._remember(case.key, series)
        target = self.folder / "cases" / case.key
        if target.exists():
            self._forget(case.key)  # so that a run that dies from here on finds this case without a row, and indexes it
            target.rename(self.folder / "staging" / f"{case.key}.{secrets.token_hex(4)}.old")
        flush_folder(staged)
        staged.rename(target)
        flush_folder(target.parent)
        self._insert(case, stamp(series))
        for old in (self.folder / "staging").glob(f"{case.key}.*.old"):
            shutil.rmtree(old, ignore_errors=True)

    def outdate(self, key: str, reason: Reason) -> bool:
        """Say in a case that its source is no longer what it shows; it is kept, and scored anew as soon as that can be.

        False where there is no such case, or it says so already.

        Raises:
            ResultsError: "case-damaged".
        """
        row = self._index.execute("SELECT outcome FROM cases WHERE key=?", (key,)).fetchone()
        if row is None or row[0] == "outdated":
            return False
        case, path = self.case(key), self.path(key) / "case.json"
        data = json.loads(path.read_text())
        what = REASONS[reason.code]  # not its detail, which may name somebody
        why = f"the source was screened again and gave no result; this one is about what was there before. {what}"
        decision = replace(case.decision, outdated=why)
        data |= {"source_stamp": "", "decision": decision.to_dict()}
        self._forget(key)  # so that a run that dies from here on finds this case without a row, and indexes it
        try:
            write_whole(path, json.dumps(data, indent=1).encode())
            case = replace(case, decision=decision)
        finally:
            self._insert(case, "")
        return True

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Record what was asked about and not scored."""
        rows = [
            (r.study_key, r.series_key, r.pipeline, r.description, r.status, r.reason.code, r.reason.detail)
            for r in refusals
        ]
        with self._one_at_a_time, self._index:
            self._index.executemany("INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def forget_refusals(self) -> None:
        """Begin a run with a clean list; the run writes its own."""
        with self._index:
            self._index.execute("DELETE FROM refusals")

    def keep_intake(self, intake: Intake) -> None:
        """The whole intake, beside the identifiers that it contains."""
        assert self._identifiers is not None
        with self._identifiers:
            row = ("intake", json.dumps(intake.to_dict()))
            self._identifiers.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", row)
            self._identifiers.execute("INSERT OR REPLACE INTO facts VALUES ('root', ?)", (json.dumps(intake.root),))

    # reading

    def keys(self) -> list[str]:
        """All cases' keys, in a stable order."""
        return [key for (key,) in self._index.execute("SELECT key FROM cases ORDER BY key")]

    def rows(self) -> list[dict[str, Any]]:
        """One row per case, as the index has it."""
        cursor = self._index.execute("SELECT * FROM cases ORDER BY key")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def summary(self, key: str) -> dict[str, Any]:
        """What `findings.summary` says of a case, from the index."""
        cursor = self._index.execute(_SUMMARY, (key,))
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))

    def refusals(self) -> list[dict[str, str]]:
        """One row per series and pipeline that were not scored."""
        cursor = self._index.execute("SELECT * FROM refusals ORDER BY status, code, study_key, description")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def path(self, key: str) -> Path:
        """The case's folder."""
        return self.folder / "cases" / key

    def case(self, key: str) -> Case:
        """One case with its evidence.

        Raises:
            ResultsError: there is no such case, or its files are damaged.
        """
        try:
            data = json.loads((self.path(key) / "case.json").read_text())
            with np.load(self.path(key) / "evidence.npz", allow_pickle=False) as stored:
                return Case.from_dict(data, {name: stored[name] for name in stored.files})
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            message = f"The case {key!r} cannot be read; delete its folder and screen again."
            raise ResultsError("case-damaged", message) from error

    def series(self, key: str) -> Series | None:
        """The case's source, with identifiers and paths; None if the identifiers were removed."""
        if self._identifiers is None:
            return None
        row = self._identifiers.execute("SELECT series FROM sources WHERE key=?", (key,)).fetchone()
        if row is None:
            return None
        series = Series.from_dict(json.loads(row[0]))
        return series if self._source is None else self._relocated(series)

    def identifiers(self, key: str) -> Identifiers | None:
        """Who the case is about, if that is still known here."""
        series = self.series(key)
        return None if series is None else series.identifiers

    def pixels(self, key: str) -> Pixels:
        """The source's values: the copy in the folder, or decoded again from the original files.

        Raises:
            ResultsError: there is no copy, and the original is gone or has changed.
        """
        folder = self.path(key)
        if (folder / "pixels.json").exists():
            array = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
            return Pixels.from_dict(json.loads((folder / "pixels.json").read_text()), {"array": array})
        series = self.series(key)
        stored = json.loads((folder / "case.json").read_text())["source_stamp"]
        if series is None or not all(Path(file.path).is_file() for file in series.files):
            message = "The original images are not here; name their folder with --source, or screen with --copy-pixels."
            raise ResultsError("source-missing", message)
        if stamp(series, fresh=True) != stored:
            raise ResultsError("source-changed", "The original images have changed since the screening; screen again.")
        try:
            return self._decoded(series)
        except InputError as error:
            raise ResultsError("source-unreadable", f"The original images cannot be decoded: {error}") from error

    # inside

    def _decoded(self, series: Series) -> Pixels:
        from medcam.readers import Decoder

        with self._one_at_a_time:
            if self._decoder is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="medcam-", ignore_cleanup_errors=True)
                self._decoder = Decoder()
            pixels = self._decoder.pixels(series, Path(self._scratch.name))
        with contextlib.suppress(OSError):  # the memory map keeps the values; where it cannot, `close` deletes the file
            Path(pixels.array.filename).unlink()  # type: ignore[attr-defined]  # a memory map has one
        return pixels

    def _relocated(self, series: Series) -> Series:
        root, moved = Path(json.loads(self._fact("root"))), self._source
        assert moved is not None
        files = tuple(
            replace(file, path=str(moved / Path(file.path).relative_to(root)))
            if Path(file.path).is_relative_to(root)
            else file
            for file in series.files
        )
        return replace(series, files=files)

    def _fact(self, name: str) -> str:
        if self._identifiers is None:
            message = "The identifiers of this results folder were removed; screen into a new folder."
            raise ResultsError("identifiers-removed", message)
        value: str = self._identifiers.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()[0]
        return value

    def _remember(self, key: str, series: Series) -> None:
        assert self._identifiers is not None
        with self._identifiers:
            row = (key, json.dumps(series.to_dict()))
            self._identifiers.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", row)

    def _insert(self, case: Case, source_stamp: str) -> None:
        row, outcome = summary(case), "outdated" if case.decision.outdated else case.decision.outcome
        values = (
            case.key, case.pipeline, case.provenance.pipeline_hash, case.provenance.model_hash, source_stamp,
            case.modality, case.finding, row["decision"], outcome, row["score"],
            case.prediction.threshold, row["score_sd"], row["where"], int(case.phantom),
        )  # fmt: skip
        with self._one_at_a_time, self._index:
            self._index.execute(_INSERT, values)

    def _forget(self, key: str) -> None:
        with self._one_at_a_time, self._index:
            self._index.execute("DELETE FROM cases WHERE key=?", (key,))

    def _recover(self) -> None:
        """Sweep what a stopped run left, put back what was being replaced, and index cases that lack their row."""
        for left in sorted((self.folder / "staging").iterdir()):
            original = self.folder / "cases" / left.name.split(".")[0]
            if left.suffix == ".old" and not original.exists():
                left.rename(original)
            else:
                shutil.rmtree(left, ignore_errors=True)
        known = set(self.keys())
        present = {folder.name for folder in (self.folder / "cases").iterdir()}
        for key in sorted(present - known):
            self._insert(self.case(key), json.loads((self.path(key) / "case.json").read_text())["source_stamp"])
        with self._index:
            self._index.executemany("DELETE FROM cases WHERE key=?", [(key,) for key in known - present])


def check_layout(folder: Path) -> None:
    """Raise `ResultsError` unless `folder` is a results folder of this layout."""
    try:
        found = json.loads((folder / MARK).read_text())["layout"]
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError("not-results", f"{folder} is not a results folder; make one with medcam screen.") from error
    if found != LAYOUT:
        message = f"{folder} has layout {found}, this medcam writes {LAYOUT}; use the matching version or a new folder."
        raise ResultsError("results-version", message)


def stamp(series: Series, fresh: bool = False) -> str:
    """A fingerprint of the source files by name, size and time; `fresh` asks the disk again."""
    parts = []
    for file in series.files:
        path = Path(file.path)
        status = path.stat() if fresh else None
        size, time = (status.st_size, status.st_mtime_ns) if status else (file.size_bytes, file.mtime_ns)
        parts.append(f"{path.name}\0{size}\0{time}")
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def _refuse_foreign(folder: Path) -> None:
    """Never write among somebody's own files, nor into another layout."""
    if (folder / MARK).exists():
        check_layout(folder)
    elif folder.is_dir() and {path.name for path in folder.iterdir()} - _BEGINNINGS:
        raise ResultsError("not-results", f"{folder} holds other files; choose a new or empty folder for results.")


def _create(folder: Path) -> None:
    """Make what is missing of a new folder; one whose making was interrupted is completed."""
    if (folder / MARK).exists():
        if not (folder / "identifiers.sqlite").exists():
            message = "The identifiers of this results folder were removed; screen into a new folder."
            raise ResultsError("identifiers-removed", message)
        return
    for name in ("cases", "staging"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "identifiers.sqlite").touch(mode=0o600)
    identifiers = connect(folder / "identifiers.sqlite", _IDENTIFIERS)
    with identifiers:
        identifiers.execute("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", (secrets.token_hex(32),))
    identifiers.close()
    part = folder / f"{MARK}.part"
    write(part, json.dumps({"layout": LAYOUT}).encode())
    part.replace(folder / MARK)  # last, so that a folder which has it is whole
    flush_folder(folder)


def _copy_pixels(folder: Path, pixels: Pixels) -> None:
    with (folder / "pixels.npy").open("wb") as stream:
        np.save(stream, pixels.array)
        stream.flush()
        os.fsync(stream.fileno())
    arrays: Arrays = {}
    write(folder / "pixels.json", json.dumps(pixels.to_dict(arrays)).encode())
