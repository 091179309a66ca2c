"""RLE Lossless frames (DICOM PS3.5 Annex G); PackBits comes from libtiff in Pillow, much faster than GDCM here."""

import io
import struct

import numpy as np

from medcam.display import Bytes

STRIP_OFFSETS, STRIP_LENGTHS = 273, 279
"""TIFF tags."""


def encode(frame: Bytes) -> bytes:
    """One RGB frame (H, W, 3): a header of 64 bytes, then the red, green and blue plane, each row packed by itself."""
    segments = [_segment(np.ascontiguousarray(frame[..., plane])) for plane in range(frame.shape[-1])]
    starts = [64 + sum(len(before) for before in segments[:place]) for place in range(len(segments))]
    header = struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments)))
    return header + b"".join(segments)


def _segment(plane: Bytes) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "TIFF", compression="packbits")
    tiff = stream.getvalue()
    with Image.open(stream) as written:
        tags = written.tag_v2  # type: ignore[attr-defined]  # a TIFF has them
        strips = zip(tags[STRIP_OFFSETS], tags[STRIP_LENGTHS], strict=True)
        packed = b"".join(tiff[start : start + length] for start, length in strips)
    return packed + b"\0" * (len(packed) % 2)
