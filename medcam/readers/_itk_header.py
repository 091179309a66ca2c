"""The text headers of NRRD and MetaImage, as far as the library has to be watched: where values lie, what is stated."""

import zlib
from collections.abc import Mapping
from pathlib import Path

from medcam.errors import InputError

HEADER_BYTES = 64 << 10
"""How much of a file is looked at for its text header."""

CHUNK_BYTES = 1 << 20

SPACES = ("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las")
"""NRRD spaces that say where the patient lies; ITK turns the last four into the first."""


def read(path: Path) -> tuple[str, dict[str, str], int]:
    """The family, the fields of the text header with names in lower case, and where the header ends."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    family, between = ("NRRD", ":") if head.startswith(b"NRRD000") else ("MetaImage", "=")
    fields: dict[str, str] = {}
    end = 0
    for line in head.split(b"\n"):
        end += len(line) + 1
        name, found, value = line.decode("latin-1").partition(between)
        if family == "NRRD" and not line.strip():
            break
        if found:
            fields[name.strip().lower()] = value.lstrip("=").strip()
        if family == "MetaImage" and name.strip() == "ElementDataFile":
            break
    return family, fields, end


def values_file(path: Path, family: str, fields: Mapping[str, str]) -> tuple[Path | None, int]:
    """The separate file of the values, if there is one, and the size of the file that holds them.

    A header must not lead to files elsewhere: only a plain name in its own folder is followed.
    """
    name = fields.get("data file", fields.get("datafile", "")) if family == "NRRD" else fields.get("elementdatafile")
    if name is None:
        raise InputError("malformed", "the header names no values")
    if name in ("", "LOCAL"):
        return None, path.stat().st_size
    beside = path.parent / name
    plain = name == Path(name).name and not any(letter in name for letter in "\\/%:*? ") and name != "LIST"
    if not plain or beside.is_symlink() or beside == path:
        raise InputError("malformed", "the values are not in one file of a plain name beside the header")
    if not beside.is_file():
        raise InputError("truncated", "the file with the values is not here")
    return beside, beside.stat().st_size


def verify(path: Path, start: int) -> None:
    """Check the sum at the end of compressed values: ITK does not, and reads damaged ones in silence."""
    unpacker = zlib.decompressobj(wbits=47)  # zlib or gzip
    with path.open("rb") as file:
        file.seek(start)
        try:
            while (packed := file.read(CHUNK_BYTES)) and not unpacker.eof:
                while packed and not unpacker.eof:
                    unpacker.decompress(packed, CHUNK_BYTES)
                    packed = unpacker.unconsumed_tail
        except zlib.error:
            raise InputError("decode-failed", "the compressed values are damaged") from None
    if not unpacker.eof:
        raise InputError("truncated", "the compressed values end too early")


def is_raw(family: str, fields: Mapping[str, str]) -> bool:
    if family == "NRRD":
        return fields.get("encoding", "").lower() == "raw"
    return fields.get("compresseddata", "false").lower() != "true" and fields.get("binarydata", "").lower() == "true"


def is_placed(family: str, fields: Mapping[str, str]) -> bool:
    """Whether directions and origin are stated, rather than filled in by the library."""
    if family == "NRRD":
        return fields.get("space", "").lower() in SPACES and {"space directions", "space origin"} <= fields.keys()
    directions, origins = {"transformmatrix", "rotation", "orientation"}, {"offset", "position", "origin"}
    return bool(directions & fields.keys()) and bool(origins & fields.keys())
