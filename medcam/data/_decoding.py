"""Files to examples: decoded in subprocesses and prepared as screening does it."""

import hashlib
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.data._pack import Source
from medcam.data.manifest import NO_PATIENT
from medcam.errors import REASONS, InputError, MedcamError, UsageError
from medcam.readers import Decoder, index
from medcam.study import Pixels, Series
from medcam.transforms import Prepared, compose, prepare

LARGEST = float(np.finfo(np.float16).max)
AHEAD = 4
"""Files per decoder that may wait, decoded, for the one before them."""
MOST_PLANES = 16


@dataclass(frozen=True)
class Made:
    """The examples of one file."""

    values: npt.NDArray[np.float16]
    """(n, C, *space)"""
    source: Source


def decode(
    files: Sequence[Path], transform: str, options: Mapping[str, Any], *, frames: bool, workers: int, scratch: Path
) -> Generator[Made | InputError, None, None]:
    """The examples of each file in order, or why there are none.

    Args:
        files: pictures, cines, volumes, slides, or folders of one series.
        transform, options: as a bundle's card states them.
        frames: make an example of each frame of a cine.
        workers: decoding subprocesses.
        scratch: a folder for decoded values, each deleted as soon as it is prepared.

    Raises:
        ResultsError: `scratch` is full.
    """

    def work(file: Path) -> Made | InputError:
        decoder = idle.get()
        try:
            return _made(file, decoder, transform, options, frames, scratch)
        except InputError as error:
            return error
        finally:
            idle.put(decoder)

    idle: SimpleQueue[Decoder] = SimpleQueue()
    waiting: deque[Future[Made | InputError]] = deque()
    with ExitStack() as stack:
        for _ in range(workers):
            idle.put(stack.enter_context(Decoder()))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="medcam-load")
        stack.callback(lambda: pool.shutdown(wait=False, cancel_futures=True))
        for file in files:
            waiting.append(pool.submit(work, file))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _made(
    file: Path, decoder: Decoder, transform: str, options: Mapping[str, Any], frames: bool, scratch: Path
) -> Made:
    series = _series(file, decoder)
    pixels = decoder.pixels(series, scratch)
    try:
        prepared = _prepared(pixels, series, transform, options)
        values = prepared.tensor.numpy()  # (B, C, *space)
        if frames:
            if not pixels.grid.is_cine:
                raise InputError("other-kind", f"{series.kind}, not a cine whose frames could be taken")
            values = np.moveaxis(values[0], 1, 0)  # (C, T, H, W) to (T, C, H, W)
        if np.abs(values).max() > LARGEST:
            raise UsageError("value-range", f"{transform} gives values beyond {LARGEST:g}; scale them to about 1.")
        return Made(values.astype(np.float16), _source(pixels, series))
    finally:
        name = getattr(pixels.array, "filename", None)
        if name is not None:
            with suppress(OSError):
                Path(name).unlink()


def _series(file: Path, decoder: Decoder) -> Series:
    intake = index(file, decoders=[decoder])
    if len(intake.used) == 1:
        return intake.used[0]
    if intake.used:
        raise InputError("not-one-image", f"{len(intake.used)} images or series; give each its own row")
    fates = [*(one.reason for one in intake.series), *(one.reason for one in intake.files)]
    reasons = [reason for reason in fates if reason is not None]
    if not reasons:
        raise InputError("empty", "no file is in the folder")
    raise InputError(reasons[0].code, reasons[0].detail or REASONS[reasons[0].code])


def _prepared(pixels: Pixels, series: Series, transform: str, options: Mapping[str, Any]) -> Prepared:
    try:
        return prepare(pixels, compose(transform, series.facts, **options))
    except MedcamError:
        raise
    except Exception as error:  # whatever a transform throws at odd pixels is that file's fate
        cause = error.__cause__ or error  # MONAI's own error says only which step it was
        raise InputError("preparation-failed", f"{type(cause).__name__}: {cause}") from error


def _source(pixels: Pixels, series: Series) -> Source:
    space = pixels.array.shape[: pixels.array.ndim - pixels.colour]
    rows, columns = space[-2:]
    planes = pixels.array[:: -(-space[0] // MOST_PLANES)] if len(space) > 2 else pixels.array
    named, ids = series.identifiers.patient_id.strip(), series.identifiers
    person = _digest(named.casefold(), ids.birth_date, ids.sex) if named.casefold() not in ("", *NO_PATIENT) else ""
    frames = space[0] if len(space) > 2 else 1
    return Source(rows, columns, frames, pixels.colour, float(planes.mean()), person, _digest(ids.study_uid))


def _digest(first: str, *more: str) -> str:
    return hashlib.sha256("\0".join((first, *more)).encode()).hexdigest()[:16] if first else ""
