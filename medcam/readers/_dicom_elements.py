"""The elements of a header. Plain ones, most of them, are found in one block of bytes, much faster than by pydicom.

Whatever is not plain (undefined lengths, unknown value representations, values beyond the block) is left to pydicom.
"""

import functools
import os
from collections.abc import Callable, Collection, MutableSequence
from struct import Struct
from typing import BinaryIO, Final

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

Elements = dict[BaseTag, DataElement | RawDataElement]

BLOCK: Final = 1 << 15
"""Bytes that are looked at; a CT slice's header takes two to ten thousand."""

UNDEFINED: Final = 0xFFFFFFFF
LONG_FORM: Final = tuple(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT_FORM: Final = tuple(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Value representations with lengths of four and of two bytes (PS3.5 7.1.2)."""

CHARSET: Final = 0x00080005
FIRST_LEFT: Final = 0x52000000
"""From here on lie functional groups, overlays and pixels, none of them plain."""

ITEMS: Final = 0xFFFE0000
"""From here on tags delimit the items of a sequence."""

_LONG = {code: code.decode() for code in LONG_FORM}
_SHORT = {code: code.decode() for code in SHORT_FORM}
_FORMS = {
    (implicit, little): Struct(("<" if little else ">") + ("HHL" if implicit else "HH2sH"))
    for implicit in (True, False)
    for little in (True, False)
}


def read_elements(
    stream: BinaryIO,
    implicit: bool,
    little: bool,
    wanted: Collection[int],
    stop: Callable[[BaseTag, str | None, int], bool],
) -> Dataset:
    """The elements `wanted` from where the stream stands; it ends before the one at which `stop` says so.

    Args:
        stream: stands at the beginning of a data set, or of an element.
        implicit: without value representations.
        little: little end first.
        wanted: tags.
        stop: of tag, value representation and length; asked from `FIRST_LEFT` on at the latest.
    """
    start = stream.tell()
    plain, done = _plain(stream, implicit, little, wanted, stop)
    charset = plain.get(_tag(CHARSET))
    encodings: str | MutableSequence[str] = list(_encodings((charset and charset.value) or b""))
    dataset = Dataset(plain)
    if not done:
        rest = read_dataset(
            stream,
            implicit,
            little,
            stop_when=stop,
            specific_tags=list(wanted),
            parent_encoding=encodings,
            at_top_level=stream.tell() == start,  # elsewhere pydicom must not guess the form anew
        )
        dataset, encodings = Dataset({**plain, **dict(rest.items())}), rest.original_character_set
    dataset.set_original_encoding(implicit, little, encodings)
    return dataset


def _plain(
    stream: BinaryIO,
    implicit: bool,
    little: bool,
    wanted: Collection[int],
    stop: Callable[[BaseTag, str | None, int], bool],
) -> tuple[Elements, bool]:
    """Elements up to the first that is not plain, and whether that is where to stop; the stream ends there.

    Of a data set with an unknown value representation nothing is read: how pydicom takes it depends on its beginning.
    """
    start = stream.tell()
    block = stream.read(BLOCK)
    here, last = 0, len(block) - 12
    if implicit and block[4:6].isalpha() and block[4:6].isupper():
        last = -1  # it has value representations after all; pydicom knows what to do
    unpack, order = _FORMS[implicit, little].unpack_from, "little" if little else "big"
    found: Elements = {}
    vr: str | None = None
    done = False
    while here <= last:
        value_at = here + 8
        if implicit:
            group, element, length = unpack(block, here)
        else:
            group, element, code, length = unpack(block, here)
            vr = _SHORT.get(code)
            if vr is None:
                vr, value_at = _LONG.get(code), here + 12
                length = int.from_bytes(block[here + 8 : value_at], order)  # type: ignore[arg-type]  # one of two words
                if vr is None:
                    stream.seek(start)
                    return {}, False
        tag, after = group << 16 | element, value_at + length
        if tag >= FIRST_LEFT:
            if tag < ITEMS:
                stream.seek(start + value_at)  # where it stands when pydicom asks the same
                done = stop(_tag(tag), vr, length)
            break
        if after > len(block):  # an undefined length is larger than any block
            break
        if length and (tag in wanted or tag == CHARSET):
            at, name = start + value_at, _tag(tag)
            found[name] = RawDataElement(name, vr, length, block[value_at:after], at, implicit, little)
        here = after
    stream.seek(start + here)
    return found, done


_tag = functools.lru_cache(maxsize=1024)(BaseTag)
"""pydicom's tags are slow to make, and one thousand files have the same hundred."""


@functools.lru_cache(maxsize=64)
def _encodings(charset: bytes) -> tuple[str, ...]:
    return tuple(convert_encodings(charset.decode("ascii", "replace").strip("\0 ").split("\\")))


def read_meta(stream: BinaryIO) -> dict[int, str]:
    """The file meta information from where the stream stands, as text (PS3.10 7.1); the stream ends behind it."""
    found: dict[int, str] = {}
    while len(head := stream.read(8)) == 8 and head[:2] == b"\x02\x00":
        tag, length = 0x00020000 | int.from_bytes(head[2:4], "little"), int.from_bytes(head[6:], "little")
        if head[4:6] in LONG_FORM:
            length = int.from_bytes(stream.read(4), "little")
        elif not b"AA" <= head[4:6] <= b"ZZ":  # some writers leave the value representation out
            length = int.from_bytes(head[4:], "little")
        found[tag] = stream.read(length).decode("latin-1").strip(" \0")
    stream.seek(-len(head), os.SEEK_CUR)
    return found
