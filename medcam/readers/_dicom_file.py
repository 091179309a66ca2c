"""One DICOM file, opened safely: nothing is inflated, allocated or nested because its sender says so (PS3.5)."""

import logging
import os
import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import config
from pydicom.dataset import Dataset

from medcam.errors import BudgetError, InputError
from medcam.readers._dicom_elements import LONG_FORM, UNDEFINED, read_elements, read_meta
from medcam.readers._dicom_kinds import DEFLATED, SLIDE

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
COMMON_VR = (b"UL", b"OB", b"UI", b"SH", b"CS", b"DA", b"TM", b"LO", b"ST", b"PN", b"SQ")
MEDIA_CLASS, MEDIA_INSTANCE, TRANSFER_SYNTAX = 0x00020002, 0x00020003, 0x00020010
SOP_CLASS, PER_FRAME, PIXEL_GROUP = 0x00080016, 0x52009230, 0x7FE0
PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True)
class PixelElement:
    """Where the pixels lie in the file: tag and VR of the element, and its value's offset and length in bytes."""

    tag: int
    vr: str
    offset: int
    length: int
    fragments: int
    """How many fragments an encapsulated value has, the offset table not counted; 0 for native pixels."""
    missing: int = 0
    """How many bytes the file is too short."""


@dataclass(frozen=True)
class DicomFile:
    """The wanted elements of one file, none of them pixels."""

    dataset: Dataset
    media: tuple[str, str]
    """SOP class and instance as the file meta information states them, where the data set has lost its own."""
    transfer_syntax: str
    stated: bool
    """Whether the file states its transfer syntax; if not, it was told from the first bytes."""
    pixels: PixelElement | None

    @property
    def little_endian(self) -> bool:
        return self.transfer_syntax != BIG_ENDIAN


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are a DICOM preamble, or a data set without one that begins in group 2 or 8."""
    return head[128:132] == b"DICM" or _syntax_of(head) is not None


def open_dicom(path: Path, tags: frozenset[int]) -> DicomFile:
    """Read the elements `tags` of a file, SOP Class UID among them, up to its pixels. Call it `guarded`, `quiet`.

    Raises:
        InputError: `malformed`, `truncated` or `deflated`.
        RecursionError: nested beyond what Python's stack allows; sound files have fewer than ten levels.
    """
    with path.open("rb") as stream:
        return _open(stream, tags, os.fstat(stream.fileno()).st_size)


@contextmanager
def guarded() -> Iterator[None]:
    """Whatever a damaged or hostile header makes a parser raise, as an InputError without any text of the header.

    Raises:
        InputError: `malformed`, `unreadable`, or what was raised inside.
        BudgetError: `too-deep`.
    """
    try:
        yield
    except (InputError, MemoryError, ImportError):
        raise
    except RecursionError:
        raise BudgetError("too-deep", "The header is nested hundreds of levels deep.") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # pydicom's own have no number
            raise InputError("unreadable", os.strerror(error.errno)) from error
        raise InputError("malformed", f"The header cannot be parsed ({type(error).__name__}).") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's complaints about values, which can name patients; what matters is checked here by code."""
    log = logging.getLogger("pydicom")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _open(stream: BinaryIO, wanted: Collection[int], size: int) -> DicomFile:
    head = stream.read(1024)
    start = 132 if head[128:132] == b"DICM" else 0
    syntax, stated, media = _syntax_of(head[start:]), False, ("", "")
    if head[start : start + 2] == b"\x02\x00":
        stream.seek(start)
        meta = read_meta(stream)
        start = stream.tell()
        named, media = meta.get(TRANSFER_SYNTAX, ""), (meta.get(MEDIA_CLASS, ""), meta.get(MEDIA_INSTANCE, ""))
        syntax, stated = (named, True) if named else (_syntax_of(stream.read(16)), False)
    if syntax is None:
        raise InputError("malformed", "It does not begin like a DICOM file.")
    if syntax in DEFLATED:
        raise InputError("deflated", "")
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    end, per_frame = 0, False

    def stop(tag: int, _vr: str | None, length: int) -> bool:
        nonlocal end, per_frame
        end = stream.tell() + (0 if length == UNDEFINED else length)
        per_frame = tag == PER_FRAME
        return per_frame or tag >> 16 >= PIXEL_GROUP

    stream.seek(start)
    dataset = read_elements(stream, implicit, little, wanted, stop)
    pixels = None
    if (_text(dataset, SOP_CLASS) or media[0]) != SLIDE:  # of a slide's many thousand frames nothing is needed here
        if per_frame:
            dataset.update(read_elements(stream, implicit, little, wanted, lambda tag, *_: tag >> 16 >= PIXEL_GROUP))
        pixels = _pixel_element(stream, implicit, "<" if little else ">", size)
        if pixels is None and end > size:
            raise InputError("truncated", "The file ends inside its header.")
    return DicomFile(dataset, media, syntax, stated, pixels)


def _syntax_of(head: bytes) -> str | None:
    """The native transfer syntax of a data set that begins so, in group 2 or 8; None if it does not look like one."""
    if len(head) < 8:
        return None
    explicit = head[4:6] in COMMON_VR
    if head[:2] in (b"\x02\x00", b"\x08\x00") and head[3] == 0:
        short = int.from_bytes(head[4:8], "little") < 1024
        return EXPLICIT if explicit else IMPLICIT if short else None
    return BIG_ENDIAN if head[:3] == b"\x00\x08\x00" and explicit else None


def _text(dataset: Dataset, tag: int) -> str:
    value = dataset.get_item(tag).value if tag in dataset else None
    return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""


def _pixel_element(stream: BinaryIO, implicit: bool, order: str, size: int) -> PixelElement | None:
    """The pixel element that begins where the stream stands, checked against the end of the file."""
    while len(head := stream.read(8)) == 8:
        group, element, length = struct.unpack(order + "HHI", head)
        explicit = not implicit and head[4:6].isalpha() and head[4:6].isupper()
        if explicit and head[4:6] in LONG_FORM:
            (length,) = struct.unpack(order + "I", stream.read(4).ljust(4, b"\0"))
        elif explicit:
            (length,) = struct.unpack(order + "2xH", head[4:])
        start, tag = stream.tell(), group << 16 | element
        if tag in PIXEL_TAGS:
            if length == UNDEFINED:
                return _encapsulated(stream, tag, size)
            vr = head[4:6].decode() if explicit else "OW"
            return PixelElement(tag, vr, start, length, 0, max(start + length - size, 0))
        if length == UNDEFINED:
            return None
        stream.seek(length, os.SEEK_CUR)  # extended offset tables and the like
    return None


def _encapsulated(stream: BinaryIO, tag: int, size: int) -> PixelElement:
    """The extent of an encapsulated value, delimiter included (PS3.5 A.4)."""
    start, items = stream.tell(), -1  # the first item is the offset table
    while len(head := stream.read(8)) == 8:
        item, length = struct.unpack("<4sI", head)
        if item == SEQUENCE_END:
            break
        if item != ITEM:
            return PixelElement(tag, "OB", start, 0, 0)  # not made of items: there is no frame to be had
        stream.seek(length, os.SEEK_CUR)
        items += 1
    end = stream.tell()  # some writers leave the delimiter out
    return PixelElement(tag, "OB", start, end - start, max(items, 0), max(end - size, 0))
