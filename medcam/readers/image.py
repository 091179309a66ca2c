"""Pictures without tags (PNG, JPEG, TIFF, BMP), read by Pillow: no modality, anatomy or millimetres are stated."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcam.errors import InputError
from medcam.grid import Grid
from medcam.readers import _budget, _tiff
from medcam.readers.base import Header, Reader
from medcam.study import Identifiers, Pixels, Reason, Series, SeriesRecord, SourceFile

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange rows and columns."""

BYTES_PER_VALUE = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I": 4, "F": 4}
GREY = ("1", "L", "LA", *BYTES_PER_VALUE)
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
ORIENTATION, PHOTOMETRIC, MIN_IS_WHITE = 274, 262, 0


class Image(Reader):
    """One picture per file, turned upright as its EXIF orientation says."""

    name = "image"
    suffixes = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

    def recognises(self, path: Path, head: bytes) -> bool:
        if _tiff.is_tiff(head):
            return not _tiff.is_slide(path)
        if head.startswith(MAGIC) or (head[:2] == b"BM" and head[6:10] == bytes(4)):
            return True
        return path.suffix.lower() in self.suffixes

    def header(self, path: Path) -> Header:
        with _opened(path) as picture:
            facts = _facts(picture)
        status = path.stat()
        return Header(str(path), status.st_size, status.st_mtime_ns, self.name, facts)

    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        return [_series(header) for header in headers]

    def pixels(self, series: Series) -> Pixels:
        from PIL import ImageOps

        with _opened(Path(series.files[0].path)) as picture:
            facts = _facts(picture)
            _budget.require((facts["height"], facts["width"]), 8)  # Pillow and the array hold it at the same time
            inverted = facts["mode"].startswith("I;16") and facts["photometric"] == MIN_IS_WHITE
            picture.load()
            if picture.format == "PNG" and _orientation(picture) != facts["orientation"]:
                raise InputError("malformed", "its orientation is stated only after its pixels")
            upright = ImageOps.exif_transpose(picture)
            if series.colour or facts["mode"] not in BYTES_PER_VALUE:
                upright = upright.convert("RGB" if series.colour else "L")
            stored = np.asarray(upright)
        array = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        if inverted:
            array = np.iinfo(array.dtype).max - array
        return Pixels(array, series.grid, series.colour, "RGB" if series.colour else "grey", steps=tuple(_steps(facts)))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The picture; Pillow's complaints become reasons."""
    import PIL.Image

    PIL.Image.MAX_IMAGE_PIXELS = None  # the budget is checked instead, with the same figure for every format
    try:
        # from a stream: given a name, Pillow maps uncompressed files, and scrambles TIFFs stored sideways
        with path.open("rb") as stream, PIL.Image.open(stream, formats=FORMATS) as picture:
            yield picture
    except PIL.UnidentifiedImageError:
        raise InputError("malformed", "damaged, or of a kind that Pillow does not read") from None
    except OSError as error:
        if error.errno is not None:
            raise
        code = "truncated" if "truncated" in str(error) else "decode-failed"
        raise InputError(code, "Pillow could not read the picture") from None
    except (SyntaxError, ValueError, KeyError) as error:
        raise InputError("malformed", f"Pillow could not read the picture ({type(error).__name__})") from None


def _orientation(picture: Any) -> int:
    if picture.format == "PNG" and not {"exif", "Raw profile type exif"} & picture.info.keys():
        return 1  # asked for EXIF that is not there, Pillow decodes the whole picture to look behind it
    return int(picture.getexif().get(ORIENTATION, 1))


def _facts(picture: Any) -> dict[str, Any]:
    orientation = _orientation(picture)
    width, height = picture.size
    if orientation in TURNED and picture.format != "TIFF":  # of a TIFF Pillow tells the upright size
        width, height = height, width
    mode = picture.mode
    palette = picture.getpalette() if mode in ("P", "PA") else None
    grey_palette = palette is not None and palette[0::3] == palette[1::3] == palette[2::3]
    return {
        "format": picture.format,
        "width": width,
        "height": height,
        "mode": mode,
        "colour": mode in COLOUR and not grey_palette,
        "pages": 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1),
        "orientation": orientation,
        "alpha": mode in ("LA", "PA", "RGBA") or "transparency" in picture.info,
        "profile": "icc_profile" in picture.info,
        "deep_colour": mode.startswith("RGB") and _bits(picture) > 8,
        "photometric": picture.tag_v2.get(PHOTOMETRIC) if picture.format == "TIFF" else None,
    }


def _bits(picture: Any) -> int:
    """Bits per value in the file; Pillow keeps eight of a colour's sixteen."""
    tiles = picture.tile
    return 16 if tiles and "16" in str(tiles[0][3]) else 8


def _steps(facts: dict[str, Any]) -> Iterator[str]:
    if facts["orientation"] not in (0, 1):
        yield f"turned upright by EXIF orientation {facts['orientation']}"
    if facts["mode"] in ("P", "PA"):
        yield "palette applied"
    if facts["mode"] == "YCbCr":
        yield "YCbCr to RGB"
    if facts["alpha"]:
        yield "transparency dropped"
    if facts["deep_colour"]:
        yield "16-bit colour reduced to 8 bits"
    if facts["profile"]:
        yield "colour profile not applied"
    if facts["mode"].startswith("I;16") and facts["photometric"] == MIN_IS_WHITE:
        yield "inverted: stored with white as the lowest value"


def _series(header: Header) -> SeriesRecord:
    facts, files = header.facts, (header.path,)
    shape = (facts["height"], facts["width"])
    description = f"{facts['format']} {shape[1]} x {shape[0]}"
    if facts["pages"] > 1:
        reason = Reason("mixed-times", f"{facts['pages']} pages or frames in one picture file")
        return SeriesRecord("refused", description, files, reason=reason)
    if facts["mode"] not in (*GREY, *COLOUR):
        return SeriesRecord("refused", description, files, reason=Reason("photometric", f"colour mode {facts['mode']}"))
    series = Series(
        reader=Image.name,
        kind="image",
        modality="",
        files=(SourceFile(header.path, header.size_bytes, header.mtime_ns),),
        frames=((0, 0),),
        grid=Grid.plane(shape),
        colour=facts["colour"],
        facts={},
        identifiers=Identifiers(),
    )
    return SeriesRecord("used", description, files, series=series)
