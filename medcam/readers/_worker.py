"""The decoding subprocess: the only place where untrusted bytes are parsed. Started by `_process.Decoder`.

Messages are a length of four bytes, little end first, and as many bytes of JSON. Requests come on standard input,
answers leave on standard output; both are moved aside first, so that what C libraries print cannot get between them.
"""

import json
import os
import queue
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from medcam.errors import BudgetError, InputError, MedcamError, ResultsError
from medcam.readers import _budget
from medcam.readers._shelf import SHELF
from medcam.readers.base import Reader
from medcam.study import FileRecord, Reason, Series, Status

try:
    import resource
except ImportError:  # Windows has no resource limits: there only time is limited
    resource = None  # type: ignore[assignment]  # checked before use

HEAD_BYTES = 1024
BASE_BYTES = _budget.GIB
"""Address space for the libraries themselves, which are imported at their first use."""

SKIPPED = ("not-an-image", "no-pixels", "localiser", "derived", "segmentation", "label-image")
"""Codes that a header can raise and that are expected exclusions rather than refusals."""


def send(pipe: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    data = json.dumps(message, separators=(",", ":")).encode()
    pipe.write(len(data).to_bytes(4, "little") + data)
    pipe.flush()


def receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """The next message, or None when the other side is gone."""
    length = pipe.read(4)
    if len(length) < 4:
        return None
    data = pipe.read(int.from_bytes(length, "little"))
    message: dict[str, Any] | None = json.loads(data) if len(data) == int.from_bytes(length, "little") else None
    return message


def main() -> None:
    """Answer requests until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_RDWR)
    for noisy in (0, 1, 2):
        os.dup2(silence, noisy)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop, by closing the pipe
    warnings.simplefilter("ignore")
    # pydicom takes an HTTP client if it finds one, to download test files: slow to import, and nothing for in here
    sys.modules["requests"] = None  # type: ignore[assignment]  # an import of it then fails, as if it were not there
    try:
        readers = _readers()
    except Exception as error:  # the parent raises it: nothing can be read without readers
        send(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    _limit_memory()
    send(answers, {"pid": os.getpid()})
    for request in _requests(requests):
        if "headers" in request:
            for path in request["headers"]:
                _limit_time(request["seconds"])
                send(answers, _header(Path(path), readers))
        else:
            _limit_time(request["seconds"])
            send(answers, _pixels(request["pixels"], Path(request["to"]), readers))
        _limit_time(0)


def _readers() -> dict[str, Reader]:
    return {name: SHELF.load(name)() for name in SHELF.names()}


def _requests(pipe: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Requests one after the other. When the parent dies, even by SIGKILL, the pipe ends and so does this process."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        while (message := receive(pipe)) is not None:
            waiting.put(message)
        os._exit(0)  # also in the middle of a decoder

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield waiting.get()


def _limit_memory() -> None:
    if resource is None or not Path("/proc/self/statm").exists():
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + BASE_BYTES + int(_budget.decode_gib() * _budget.GIB)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))


def _limit_time(seconds: float) -> None:
    """The parent kills a slow worker; this ends one that hangs inside a library when there is no parent any more."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds and seconds + 5)


def _header(path: Path, readers: dict[str, Reader]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        reader = next((reader for reader in readers.values() if reader.recognises(path, head)), None)
        if reader is None:
            raise InputError("not-an-image", "")
        if not head:
            raise InputError("empty", "the file has no bytes")
        return {"header": reader.header(path).to_dict()}
    except Exception as error:  # whatever a parser throws at hostile bytes is that file's fate, not the run's
        refusal = _refusal(error, "malformed")
        status: Status = "skipped" if refusal["code"] in SKIPPED else "refused"
        record = FileRecord(str(path), status, Reason(refusal["code"], refusal["detail"]))
        return {"file": record.to_dict(), "spent": refusal["spent"]}


def _pixels(request: dict[str, Any], target: Path, readers: dict[str, Reader]) -> dict[str, Any]:
    try:
        series = Series.from_dict(request)
        pixels = readers[series.reader].pixels(series)
    except Exception as error:  # as above
        return {"error": _refusal(error, "decode-failed")}
    try:
        with target.open("wb") as file:
            np.save(file, np.ascontiguousarray(pixels.array), allow_pickle=False)
    except OSError as error:
        target.unlink(missing_ok=True)
        detail = os.strerror(error.errno) if error.errno else "No space left on device"
        return {"error": {"code": "storage-failed", "detail": detail, "spent": False}}
    return {
        "grid": pixels.grid.to_dict(),
        "colour": pixels.colour,
        "unit": pixels.unit,
        "window": pixels.window,
        "steps": pixels.steps,
        "origins": pixels.origins,
    }


def _refusal(error: Exception, otherwise: str) -> dict[str, Any]:
    """Code and detail. Foreign messages can quote the header, and so the patient: only their type is told.

    `spent`: the process has run out of memory or stack and should not be used again.
    """
    if isinstance(error, MedcamError):
        return {"code": error.code, "detail": str(error.args[0]), "spent": False}
    if isinstance(error, MemoryError):
        return {"code": "too-large", "detail": f"more than {_budget.decode_gib():g} GiB", "spent": True}
    if isinstance(error, RecursionError):
        return {"code": "too-deep", "detail": "", "spent": True}
    if isinstance(error, ImportError):
        missing = f"needs {error.name}: pip install 'medcam-toolkit[screen]'"
        return {"code": "unreadable", "detail": missing, "spent": False}
    if isinstance(error, OSError) and error.errno is not None:
        return {"code": "unreadable", "detail": os.strerror(error.errno), "spent": False}
    if isinstance(error, EOFError):
        return {"code": "truncated", "detail": "", "spent": False}
    return {"code": otherwise, "detail": type(error).__name__, "spent": False}


def raised(code: str, detail: str) -> MedcamError:
    """The exception that stands for a refusal that came over the pipe."""
    kinds: dict[str, type[MedcamError]] = {
        "storage-failed": ResultsError,
        "too-large": BudgetError,
        "timeout": BudgetError,
        "too-deep": BudgetError,
    }
    return kinds.get(code, InputError)(code, detail)
