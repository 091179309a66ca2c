"""Whether a TIFF is a whole slide or a plain picture, told from its directories without a library (TIFF 6.0)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".bif")
LARGEST_PICTURE = 10_000
"""Pixels along a side; a larger tiled TIFF is read by tiles whatever it is."""

WIDTH, TILE_WIDTH = 256, 322
SIZES = {1: "B", 2: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
MOST_DIRECTORIES, MOST_TAGS = 64, 1000


def is_tiff(head: bytes) -> bool:
    """Whether a file's first bytes are those of a TIFF or BigTIFF."""
    return head[:4] in MAGIC


def is_slide(path: Path) -> bool:
    """Whether the TIFF at `path` is a pyramid of tiles, a very large tiled picture, or has a scanner's suffix."""
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            tiled = [tags[WIDTH] for tags in _directories(file) if TILE_WIDTH in tags and WIDTH in tags]
    except (struct.error, OSError):
        return False  # damaged: the reader of pictures will say how
    return bool(tiled) and (max(tiled) > LARGEST_PICTURE or len(set(tiled)) > 1)


def _directories(file: IO[bytes]) -> Iterator[dict[int, int]]:
    """The scalar tags of each directory in the chain."""
    head = file.read(16)
    if not is_tiff(head):
        return
    order = "<" if head[:2] == b"II" else ">"
    big = head[2 if order == "<" else 3] == ord("+")
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    count_code, entry_bytes, value_at = ("Q", 20, 12) if big else ("H", 12, 8)
    for _ in range(MOST_DIRECTORIES):
        if start == 0:
            return
        file.seek(start)
        (count,) = struct.unpack(order + count_code, file.read(struct.calcsize(count_code)))
        block = file.read(entry_bytes * min(count, MOST_TAGS))
        tags = {}
        for at in range(0, len(block) - entry_bytes + 1, entry_bytes):
            tag, kind = struct.unpack_from(order + "HH", block, at)
            if kind in SIZES:
                (tags[tag],) = struct.unpack_from(order + SIZES[kind], block, at + value_at)
        yield tags
        (start,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
