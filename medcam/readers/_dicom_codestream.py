"""What a compressed frame says of its own size, before a decoder believes it (ITU-T T.81, T.87, T.800)."""

import struct
from typing import Final

from medcam.errors import InputError

START_OF_IMAGE, START_OF_CODESTREAM = b"\xff\xd8", b"\xff\x4f\xff\x51"
FRAME_HEADERS: Final = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Second bytes of the JPEG markers that state a size: the SOFn, and that of JPEG-LS."""
MAX_TILES: Final = 65535


def require_size(frame: bytes, rows: int, columns: int) -> None:
    """Refuse a frame whose own size is not that of its DICOM header; other codecs state none.

    Raises:
        InputError: `decode-failed`.
    """
    stated = _jpeg(frame) if frame[:2] == START_OF_IMAGE else _jpeg2000(frame)
    if stated is not None and stated != (rows, columns):
        raise InputError("decode-failed", f"A frame of {rows} x {columns} says that it is {stated[0]} x {stated[1]}.")


def _jpeg(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4])
        if marker in FRAME_HEADERS:
            rows, columns = struct.unpack(">HH", frame[place + 5 : place + 9])
            return rows, columns
        place += 1 if marker == 0xFF else 2 + length  # any number of fill bytes may stand before a marker
    return None


def _jpeg2000(frame: bytes) -> tuple[int, int] | None:
    start = frame.find(START_OF_CODESTREAM, 0, 4096)  # within a JP2 file, or at once
    if start < 0 or start + 40 > len(frame):
        return None
    right, bottom, left, top, tile_width, tile_height = struct.unpack(">6I", frame[start + 8 : start + 32])
    if min(tile_width, tile_height) == 0 or right * bottom > MAX_TILES * tile_width * tile_height:
        raise InputError("decode-failed", "A frame is cut into more tiles than there can be.")
    return bottom - top, right - left
