"""Plain video (mp4, mov, avi, mpeg, mkv, webm, gif), read by PyAV: frames with their own times, upright."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.errors import BudgetError, InputError
from medcam.grid import Grid
from medcam.readers import _budget, _video_stream
from medcam.readers.base import Header, Reader
from medcam.study import Identifiers, Pixels, Series, SeriesRecord, SourceFile

MOST_FRAMES = 20_000


class Video(Reader):
    """One cine per file: its first video stream. Nothing in such a file states modality, anatomy or millimetres."""

    name = "video"
    suffixes = (".mp4", ".m4v", ".mov", ".avi", ".mpeg", ".mpg", ".mkv", ".webm", ".gif")

    def recognises(self, path: Path, head: bytes) -> bool:
        known = _video_stream.container_of(head) is not None
        return known or (path.suffix.lower() in self.suffixes and not _video_stream.is_still(head))

    def header(self, path: Path) -> Header:
        status = path.stat()
        return Header(str(path), status.st_size, status.st_mtime_ns, self.name, _facts(path))

    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        return [_series(header) for header in headers]

    def pixels(self, series: Series) -> Pixels:
        path = Path(series.files[0].path)
        count, height, width = series.grid.shape
        channels = (3,) if series.colour else ()
        _budget.require((count, height, width, *channels), 1)
        array = np.empty((count, height, width, *channels), dtype=np.uint8)
        done, turn = 0, False
        with _opened(path) as (container, stream):
            for frame, stored in _video_stream.frames(container, stream, grey=not series.colour):
                matrix = _display_matrix(frame)
                turn = matrix != UPRIGHT
                values = _turned(stored, matrix)
                if done < count and values.shape != array.shape[1:]:
                    raise InputError("mixed-geometry", f"frame {done} has another size than the first")
                if done < count:
                    array[done] = values
                done += 1
        if done != count:
            raise InputError("decode-failed", f"{count} frames are stored, {done} could be decoded")
        steps = ["decoded to RGB" if series.colour else "decoded to grey"]
        if turn:
            steps.append("turned upright by the display matrix")
        return Pixels(array, series.grid, series.colour, "RGB" if series.colour else "grey", steps=tuple(steps))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    with path.open("rb") as file:
        name = _video_stream.container_of(file.read(1024))
        file.seek(0)
        with _video_stream.opened(file, name) as both:
            yield both


def _facts(path: Path) -> dict[str, Any]:
    """Of every packet its time, and of the first frame its size and orientation."""
    ticks: list[int | None] = []
    first = None
    with _opened(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                ticks.append(packet.dts if packet.pts is None else packet.pts)
            if len(ticks) > MOST_FRAMES:
                raise BudgetError("too-large", f"more than {MOST_FRAMES} frames")
            if first is None:
                first = next(iter(packet.decode()), None)
        if first is None:
            raise InputError("empty", "no frame could be decoded")
        if len(ticks) < stream.frames:
            raise InputError("truncated", f"{len(ticks)} of {stream.frames} frames are there")
        matrix = _display_matrix(first)
        sideways = matrix[0] == 0
        return {
            "container": container.format.name.split(",")[0],
            "codec": stream.codec_context.name,
            "height": first.width if sideways else first.height,
            "width": first.height if sideways else first.width,
            "aspect": _aspect(stream.sample_aspect_ratio, sideways),
            "colour": not first.format.name.startswith("gray"),
            "times_s": _times(ticks, stream.time_base, stream.average_rate),
        }


def _times(ticks: Sequence[int | None], tick_s: Fraction | None, rate: Fraction | None) -> list[float]:
    """Seconds from the first frame, in the order of showing; even steps only where the file has no times of its own."""
    known = sorted(tick for tick in ticks if tick is not None)
    if tick_s and len(known) == len(ticks) and len(set(known)) == len(known):
        return [float((tick - known[0]) * tick_s) for tick in known]
    if not rate:
        raise InputError("malformed", "its frames have neither times nor a rate")
    return [float(number / rate) for number in range(len(ticks))]


def _aspect(stored: Fraction | None, sideways: bool) -> float:
    """Width of a pixel over its height."""
    ratio = float(stored) if stored else 1.0
    return 1 / ratio if sideways else ratio


UPRIGHT = (1, 0, 0, 1)


def _display_matrix(frame: Any) -> tuple[int, ...]:
    """(a, b, c, d): a stored pixel (x, y) is shown at (a x + c y, b x + d y) (ISO 14496-12, track header)."""
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return UPRIGHT
    stored = np.frombuffer(bytes(found), dtype=np.int32)[[0, 1, 3, 4]] / 65536
    matrix = tuple(int(value) for value in np.rint(stored))
    if np.abs(stored - matrix).max() > 1e-3 or sorted(map(abs, matrix)) != [0, 0, 1, 1] or matrix[0] * matrix[2]:
        raise InputError("malformed", "its display matrix is not a multiple of a right angle")
    return matrix


def _turned(values: npt.NDArray[Any], matrix: tuple[int, ...]) -> npt.NDArray[Any]:
    a, b, c, d = matrix
    upright = values.swapaxes(0, 1) if a == 0 else values
    return upright[:: b + d, :: a + c]


def _series(header: Header) -> SeriesRecord:
    facts: Mapping[str, Any] = header.facts
    times = facts["times_s"]
    shape = (len(times), facts["height"], facts["width"])
    series = Series(
        reader=Video.name,
        kind="cine",
        modality="",
        files=(SourceFile(header.path, header.size_bytes, header.mtime_ns),),
        frames=tuple((0, number) for number in range(len(times))),
        grid=Grid.plane(shape, (1.0, facts["aspect"]), frame_times_s=tuple(times)),
        colour=facts["colour"],
        facts={},
        identifiers=Identifiers(),
    )
    description = f"{facts['codec']} in {facts['container']}, {shape[0]} frames {shape[2]} x {shape[1]}"
    return SeriesRecord("used", description, (header.path,), series=series)
