"""What each kind of DICOM object is to us: slices of a volume, a plane, a slide, or nothing to look at (PS3.6)."""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from medcam.errors import InputError

Family = Literal["slices", "frames", "plane", "slide"]
"""Single slices that make a volume; one object that holds all slices; images and cines; whole slides."""

SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
CAPTURES: Final = ("7", "7.1", "7.2", "7.3", "7.4")

_FAMILIES: Final[dict[Family, tuple[str, ...]]] = {
    "slices": ("2", "4", "128"),  # CT, MR, PET
    "frames": ("2.1", "2.2", "4.1", "4.4", "130", "128.1", "13.1.1", "13.1.2"),  # enhanced and legacy converted
    "plane": (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"),  # computed and digital radiography, mammography
        *("3", "3.1", "6", "6.1"),  # ultrasound
        *("12.1", "12.1.1", "12.2", "12.2.1"),  # angiography and fluoroscopy
        *("77.1.1", "77.1.1.1", "77.1.2", "77.1.2.1", "77.1.3", "77.1.4", "77.1.4.1"),  # visible light
        *("77.1.5.1", "77.1.5.2", "77.1.5.4"),  # ophthalmic photographs and tomograms
        *CAPTURES,
    ),
    "slide": ("77.1.6",),
}
FAMILY: Final[dict[str, Family]] = {STORAGE + name: family for family, names in _FAMILIES.items() for name in names}
"""SOP classes that hold images to look at."""

_CAPTURES: Final = tuple(STORAGE + name for name in CAPTURES)
SEGMENTATIONS: Final = tuple(STORAGE + name for name in ("66.4", "66.5", "66.7", "30"))

PROJECTIONS: Final = ("CR", "DX", "MG", "RG", "PX", "IO", "US", "XC", "ES", "GM", "SM")
"""Modalities whose images may come as secondary captures: digitised film, converted archives."""

MADE_UP: Final = ("DRW", "SYN", "SD")
"""Conversion types that were never an image of a patient: drawings, synthetic images, scanned documents."""

REFORMATTED: Final = frozenset(
    ("MPR", "CSA MPR", "REFORMATTED", "PROJECTION IMAGE", "MIP", "MINIP", "MAX_IP", "MIN_IP", "SCREEN SAVE", "3D")
)

DEFLATED: Final = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")

NATIVE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_MPEG2, _MPEG4, _HEVC = ("100", "101"), ("102", "103", "104", "105", "106"), ("107", "108")
VIDEO: Final = tuple(
    f"1.2.840.10008.1.2.4.{name}{fragmentable}" for name in (*_MPEG2, *_MPEG4, *_HEVC) for fragmentable in ("", ".1")
)
EXTENDED_JPEG: Final = "1.2.840.10008.1.2.4.51"

DECODABLE: Final = (
    *NATIVE,
    *VIDEO,
    "1.2.840.10008.1.2.5",  # run length
    # JPEG baseline, extended, lossless; JPEG-LS; JPEG 2000; high-throughput JPEG 2000
    *(f"1.2.840.10008.1.2.4.{n}" for n in ("50", "51", "57", "70", "80", "81", "90", "91", "201", "202", "203")),
)
"""Transfer syntaxes that the pinned libraries decode."""


def family(facts: Mapping[str, Any]) -> Family:
    """How the object of a header is to be read.

    Raises:
        InputError: it is not to be read, an expected exclusion; the code says why.
    """
    sop_class = str(facts.get("SOPClassUID", ""))
    image_type = [value.strip().upper() for value in str(facts.get("ImageType", "")).split("\\")]
    found = FAMILY.get(sop_class)
    if sop_class in SEGMENTATIONS:
        raise InputError("segmentation", "")
    if "PixelBytes" not in facts and found != "slide":
        raise InputError("no-pixels", "")
    if found is None:
        raise InputError("other-object", f"SOP class {said(sop_class)}.")
    if found == "slide":
        if not {"LABEL", "OVERVIEW", "THUMBNAIL"}.isdisjoint(image_type):
            raise InputError("label-image", said("\\".join(image_type)))
        return found
    if "LOCALIZER" in image_type:
        raise InputError("localiser", said("\\".join(image_type)))
    if _derived(image_type, found) or (sop_class in _CAPTURES and _screen_save(facts)):
        raise InputError("derived", said("\\".join(image_type).strip("\\")) or "secondary capture")
    return found


def _derived(image_type: list[str], found: Family) -> bool:
    """Made from other images, and no longer what the scanner measured. Lossy compression alone is not that."""
    if image_type[0] == "DERIVED" and not REFORMATTED.isdisjoint(image_type):
        return True
    contrast = image_type[3] if found == "frames" and len(image_type) > 3 else "NONE"
    return "SECONDARY" in image_type[1:2] or (image_type[0] == "DERIVED" and contrast not in ("NONE", ""))


def _screen_save(facts: Mapping[str, Any]) -> bool:
    """Whether a secondary capture is a screen save; converted X-rays and photographs state what they are of."""
    stated = facts.get("Modality") in PROJECTIONS and facts.get("BodyPartExamined")
    return not stated or facts.get("ConversionType") in MADE_UP


def said(text: object) -> str:
    """A coded value of a header as it may stand in a message: short, and of the characters that codes have."""
    return re.sub(r"[^A-Za-z0-9_.\\ -]", "?", str(text))[:80]
