"""One persistent subprocess that parses and decodes, so that no hostile file can hurt the run that reads it."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from medcam.errors import UsageError
from medcam.grid import Grid
from medcam.readers import _budget, _worker
from medcam.readers.base import Header
from medcam.study import FileRecord, Pixels, Reason, Series

START = "import sys; sys.path[:] = sys.argv[1:]; from medcam.readers._worker import main; main()"
"""Needs neither a main module nor its guard, unlike `multiprocessing`."""

START_SECONDS = 120.0
HEADER_SECONDS = 30.0
"""For one file; the first file of a format also pays for the import of its library."""


class Decoder:
    """A decoding subprocess: started at the first request, started again when a file has killed it.

    Args:
        seconds: how long the pixels of one series may take; MEDCAM_DECODE_SECONDS or 120.
        gib: how much memory they may take; MEDCAM_DECODE_GIB or 2. The system enforces it on Linux.
        header_seconds: how long one header may take.

    Requests are answered one after the other, in the order they came; methods may be called from any thread.
    """

    def __init__(
        self, seconds: float | None = None, gib: float | None = None, header_seconds: float = HEADER_SECONDS
    ) -> None:
        self.seconds = _budget.decode_seconds() if seconds is None else seconds
        self.gib = _budget.decode_gib() if gib is None else gib
        self.header_seconds = header_seconds
        self._worker: _Worker | None = None
        self._closed = False
        self._line = ThreadPoolExecutor(max_workers=1, thread_name_prefix="medcam-decoder")

    def headers(self, paths: Sequence[Path]) -> list[Header | FileRecord]:
        """What each file says about itself, or why it was skipped or refused, in the order of `paths`."""
        return self.submit_headers(paths).result()

    def submit_headers(self, paths: Sequence[Path]) -> "Future[list[Header | FileRecord]]":
        """`headers` in the background."""
        return self._line.submit(self._headers, [str(path) for path in paths])

    def pixels(self, series: Series, folder: Path) -> Pixels:
        """The values of a series, as a read-only map of a new file in `folder` (the caller's to delete: `.filename`).

        Raises:
            InputError: the series cannot be decoded within the limits.
            ResultsError: `folder` cannot hold the values.
        """
        return self.submit(series, folder).result()

    def submit(self, series: Series, folder: Path) -> "Future[Pixels]":
        """`pixels` in the background, so that the next series is decoded while the model looks at this one."""
        return self._line.submit(self._pixels, series, Path(folder))

    @property
    def pid(self) -> int | None:
        """Process number of the subprocess, or None while there is none."""
        return self._worker.process.pid if self._worker else None

    def close(self) -> None:
        """End the subprocess now; what was not answered yet is cancelled."""
        self._closed = True
        self._line.shutdown(wait=False, cancel_futures=True)
        self._stop()
        self._line.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _headers(self, paths: list[str]) -> list[Header | FileRecord]:
        results: list[Header | FileRecord] = []
        while len(results) < len(paths):
            worker = self._running()
            worker.ask({"headers": paths[len(results) :], "seconds": self.header_seconds})
            while len(results) < len(paths):
                answer = worker.answer(self.header_seconds)
                spent = "code" in answer or answer.get("spent", False)
                if "header" in answer:
                    results.append(Header(**answer["header"]))
                elif "file" in answer:
                    results.append(FileRecord.from_dict(answer["file"]))
                else:
                    self._unless_closed()
                    reason = Reason(answer["code"], answer["detail"])
                    results.append(FileRecord(paths[len(results)], "refused", reason))
                if spent:
                    self._stop()
                    break
        return results

    def _pixels(self, series: Series, folder: Path) -> Pixels:
        target = folder / f"{uuid.uuid4().hex}.npy"
        worker = self._running()
        worker.ask({"pixels": series.to_dict(), "to": str(target), "seconds": self.seconds})
        answer = worker.answer(self.seconds)
        error = answer if "code" in answer else answer.get("error")
        if error is not None:
            if error.get("spent", True):
                self._stop()
            self._unless_closed()
            with contextlib.suppress(OSError):
                target.unlink()
            raise _worker.raised(error["code"], error["detail"])
        return Pixels(
            array=np.load(target, mmap_mode="r"),
            grid=Grid.from_dict(answer["grid"]),
            colour=answer["colour"],
            unit=answer["unit"],
            window=answer["window"] and tuple(answer["window"]),
            steps=tuple(answer["steps"]),
            origins=answer["origins"] and tuple((row, column) for row, column in answer["origins"]),
        )

    def _running(self) -> "_Worker":
        if self._worker is not None and self._worker.process.poll() is not None:
            self._stop()  # it died between requests: no file is to blame
        if self._worker is None:
            self._worker = _Worker(self.gib)
            self._unless_closed()
            answer = self._worker.answer(START_SECONDS)
            if "pid" not in answer:
                self._stop()
                raise UsageError("no-decoder", f"The decoding process did not start: {answer.get('failed', 'it died')}")
        self._unless_closed()
        return self._worker

    def _unless_closed(self) -> None:
        if self._closed:
            raise CancelledError

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()


class _Worker:
    """The running process and the thread that listens to it, so that waiting can end."""

    def __init__(self, gib: float) -> None:
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
        arenas = {"MALLOC_ARENA_MAX": "2"}  # each arena of the C library takes 64 MiB of the limited address space
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *(entry or str(Path.cwd()) for entry in sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **one_thread, **arenas, "MEDCAM_DECODE_GIB": str(gib)},
        )
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True, name="medcam-listener").start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe, contextlib.suppress(OSError, ValueError):
            while (message := _worker.receive(pipe)) is not None:
                self._answers.put(message)
        self._answers.put(None)

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; a process that is gone will be noticed when its answer is awaited."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            _worker.send(self.process.stdin, request)

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next answer; code and detail of the refusal if none comes in time or the process died."""
        try:
            message = self._answers.get(timeout=seconds)
        except queue.Empty:
            return {"code": "timeout", "detail": f"more than {seconds:g} s"}
        return message or {"code": "decoder-crashed", "detail": ""}

    def kill(self) -> None:
        """End the process and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
