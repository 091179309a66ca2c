"""Video streams through PyAV, opened so that hostile ones stay inside their own bytes; also those inside DICOM."""

import contextlib
from collections.abc import Iterator
from typing import IO, Any

import numpy.typing as npt

from medcam.errors import BudgetError, InputError

BUFFER_BYTES = 1 << 20

STILL_BRANDS = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jp2 ", b"jpx ")
"""ISO media files that hold pictures."""

BEGINNINGS = (
    (b"\0\0\1\xba", "mpeg"),
    (b"\0\0\1\xb3", "mpegvideo"),
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
H264_FIRST, HEVC_FIRST = (7, 9), (32, 35)
"""Types of the unit that begins a bare stream: parameters or a delimiter (ITU-T H.264 7.4.1, H.265 7.4.2)."""


def container_of(head: bytes) -> str | None:
    """FFmpeg's name of the container. Nothing is left to its guesses: among them are playlists of other files."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return None if is_still(head) else "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return next((name for beginning, name in BEGINNINGS if head.startswith(beginning)), None)


def is_still(head: bytes) -> bool:
    """Whether the bytes begin an ISO media file of pictures, not of video."""
    return head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS


def stream_of(head: bytes) -> str | None:
    """The same for streams that only ever come inside another file: transport streams and bare ones."""
    if head[:1] == head[188:189] == b"G":
        return "mpegts"
    for start in (b"\0\0\0\1", b"\0\0\1"):
        unit = head[len(start)] if head.startswith(start) and len(head) > len(start) else 0x80
        if unit < 0x80 and unit & 0x1F in H264_FIRST:
            return "h264"
        if unit < 0x80 and unit >> 1 in HEVC_FIRST:
            return "hevc"
    return container_of(head)


@contextlib.contextmanager
def opened(file: IO[bytes], name: str | None) -> Iterator[tuple[Any, Any]]:
    """Container and first video stream of a file whose kind is `name`; FFmpeg's complaints become reasons.

    Raises:
        InputError: it is no video, or damaged.
    """
    import av
    import av.error

    if name is None:
        raise InputError("malformed", "it does not begin like a video")
    try:  # a stream, not a path: FFmpeg then has no way to open another file or address
        with av.open(file, format=name, buffer_size=BUFFER_BYTES, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise InputError("no-pixels", "no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}  # rather than conceal what is damaged
            yield container, stream
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, av.error.MemoryError):
            raise BudgetError("too-large", "FFmpeg ran out of memory") from None
        raise InputError("malformed", f"FFmpeg could not read it ({type(error).__name__})") from None


def frames(container: Any, stream: Any, grey: bool) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
    """Each frame in the order of showing, and its values: (H, W) or (H, W, 3).

    Raises:
        InputError: a frame is damaged.
    """
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()  # one for all frames: each would start its own threads
    for number, frame in enumerate(container.decode(stream)):
        if frame.is_corrupt:
            raise InputError("decode-failed", f"frame {number} is damaged")
        yield frame, reformatter.reformat(frame, format="gray" if grey else "rgb24", threads=1).to_ndarray()
