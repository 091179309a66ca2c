"""Facts of one DICOM header: what grouping, geometry, selection and provenance need, as short plain text."""

import functools
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from medcam.errors import InputError
from medcam.readers._dicom_file import DicomFile, guarded, open_dicom, quiet
from medcam.readers._dicom_frames import frame_count, frames
from medcam.readers._dicom_kinds import DECODABLE, FAMILY, NATIVE, VIDEO

SIZES: Final = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
"""Two-byte whole numbers (US); any other encoding of them is an attack or an accident."""

TEXTS: Final = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"),
    *("PatientID", "PatientName", "AccessionNumber", "PatientSex", "PatientAge"),
    *("PatientBirthDate", "StudyID", "StudyDate", "StudyTime"),
    *("Modality", "ImageType", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality"),
    *("Manufacturer", "ManufacturerModelName", "PresentationIntentType", "ConversionType", "ConvolutionKernel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape", "BurnedInAnnotation"),
    *("PatientOrientation", "PatientPosition", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacingCalibrationType"),
    *("SliceThickness", "GantryDetectorTilt", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("EchoNumbers", "EchoTime", "DiffusionBValue", "NominalPercentageOfCardiacPhase", "TriggerTime"),
    *("RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "RescaleType"),
    *("ConcatenationUID", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber"),
    *("TotalPixelMatrixRows", "TotalPixelMatrixColumns", "ImagedVolumeWidth", "ImagedVolumeHeight"),
)
NESTED: Final = (
    *("AnatomicRegionSequence", "ViewCodeSequence", "SequenceOfUltrasoundRegions"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


_PALETTE = tuple(
    name.format(colour)
    for colour in ("Red", "Green", "Blue")
    for name in (
        "{}PaletteColorLookupTableDescriptor",
        "{}PaletteColorLookupTableData",
        "Segmented{}PaletteColorLookupTableData",
    )
)
LOOK_UP_TABLES: Final = frozenset(_tag(keyword) for keyword in ("ModalityLUTSequence", "VOILUTSequence", *_PALETTE))
"""Tags of what only decoding needs."""

BINARY: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FD": "d", "FL": "f"}

VIEWS: Final = {
    **{"postero-anterior": "PA", "antero-posterior": "AP"},
    **{"left lateral": "LL", "lateral": "LL", "right lateral": "RL"},
}
"""Code meanings of views (PS3.16 CID 4010) to the terms of View Position (PS3.3 C.8.11.5)."""

MAX_TEXT_BYTES: Final = 1 << 20
SHORT_BYTES: Final = 64

CHARSET: Final = _tag("SpecificCharacterSet")
PLAIN: Final = {_tag(keyword): (keyword, dictionary_VR(_tag(keyword))) for keyword in (*SIZES, *TEXTS)}
DEEP: Final = {keyword: _tag(keyword) for keyword in NESTED}
WANTED: Final = frozenset((*PLAIN, *DEEP.values()))


def header_facts(path: Path) -> dict[str, Any]:
    """Facts by DICOM keyword: text as it stands in the header (several values joined by a backslash), sizes as int.

    Beside the keywords: `TransferSyntaxUID`, `PixelBytes` (length of the stored pixels), `Regions` (of ultrasound),
    `Frames` (the functional groups of an enhanced object, see `_dicom_frames`) and `Damage` (code and detail: the
    header is sound, but the pixels are not).

    Raises:
        InputError: the file is damaged, hostile, or contradicts itself.
    """
    with guarded(), quiet():
        return read_header(path, WANTED)[0]


def read_header(path: Path, tags: frozenset[int]) -> tuple[dict[str, Any], DicomFile]:
    """As `header_facts`, with the file they were read from, whose data set holds the elements `tags`.

    To be called `guarded`, and `quiet`.
    """
    file = open_dicom(path, tags)
    facts = _plain(file)
    facts.update(_nested(file.dataset, facts))
    if file.pixels is not None:
        facts["PixelBytes"] = file.pixels.length
        try:
            _check_pixels(file, facts)
        except InputError as error:  # told to its series, which must not lose a slice in silence
            facts["Damage"] = [error.code, str(error.args[0])]
    if not file.stated and facts.get("SOPClassUID") not in FAMILY:
        raise InputError("malformed", "It has no file meta information and does not say what it is.")
    return facts, file


def _plain(file: DicomFile) -> dict[str, Any]:
    facts: dict[str, Any] = {"TransferSyntaxUID": file.transfer_syntax}
    dataset = file.dataset
    charset = _bytes(dataset, CHARSET)
    for element in dataset.values():  # as they stand in the file: iterating over the Dataset itself would parse them
        keyword, usual = PLAIN.get(int(element.tag), ("", ""))  # int: comparing pydicom's tags is slow
        value = element.value
        if not keyword or not value or not isinstance(value, bytes):
            continue
        if len(value) > MAX_TEXT_BYTES:
            raise InputError("malformed", f"{keyword} is {len(value)} bytes long.")
        vr = element.VR or usual
        if vr == "US or SS":
            vr = "SS" if facts.get("PixelRepresentation") else "US"
        if keyword in SIZES:
            if vr != "US" or len(value) != 2:
                raise InputError("malformed", f"{keyword} is not a two-byte number.")
            facts[keyword] = int(_numbers(value, vr, file.little_endian)[0])
        elif text := _number_text(value, vr, file.little_endian) if vr in BINARY else _text(value, charset):
            facts[keyword] = text
    for keyword, stated in zip(("SOPClassUID", "SOPInstanceUID"), file.media, strict=True):
        if stated:
            facts.setdefault(keyword, stated)
    return facts


def _bytes(dataset: Dataset, tag: int) -> bytes:
    value = dataset.get_item(tag).value if tag in dataset else None
    return value if isinstance(value, bytes) else b""


def _numbers(value: bytes, vr: str, little: bool) -> tuple[float, ...]:
    code = BINARY[vr]
    count = len(value) // struct.calcsize(code)
    return struct.unpack(f"{'<' if little else '>'}{count}{code}", value[: count * struct.calcsize(code)])


def _number_text(value: bytes, vr: str, little: bool) -> str:
    return "\\".join(f"{number:.12g}" for number in _numbers(value, vr, little))


def _text(value: bytes, charset: bytes) -> str:
    return _short_text(value, charset) if len(value) <= SHORT_BYTES else _any_text(value, charset)


@functools.lru_cache(maxsize=4096)
def _short_text(value: bytes, charset: bytes) -> str:
    """Most of what a slice says, its neighbours say too."""
    return _any_text(value, charset)


def _any_text(value: bytes, charset: bytes) -> str:
    if value.isascii() and b"\x1b" not in value:
        text = value.decode("ascii")
    else:
        names = charset.decode("ascii", "replace").replace("\0", "").strip()
        text = decode_bytes(value, convert_encodings(names.split("\\")), {*b"\r\n\f\t\\^="})
    return "\\".join(part.strip(" \0\t\r\n") for part in text.split("\\"))


def _nested(dataset: Dataset, plain: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    meaning = _meaning(dataset, "AnatomicRegionSequence")
    if meaning:
        facts["AnatomicRegion"] = meaning.upper()
    view = VIEWS.get(_meaning(dataset, "ViewCodeSequence").lower())
    if view:
        facts["ViewCode"] = view
    regions = [_region(item) for item in _items(dataset, "SequenceOfUltrasoundRegions")]
    if regions:
        facts["Regions"] = regions
    if FAMILY.get(plain.get("SOPClassUID", "")) in ("frames", "slide"):
        facts["Frames"] = frames(dataset)
    return facts


def _items(dataset: Dataset, keyword: str) -> Iterable[Dataset]:
    tag = DEEP[keyword]
    return (dataset[tag].value or ()) if tag in dataset else ()


def _meaning(dataset: Dataset, keyword: str) -> str:
    return next((str(item.get("CodeMeaning", "")).strip() for item in _items(dataset, keyword)), "")


REGION: Final = (
    *("RegionSpatialFormat", "RegionDataType", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection"),
    *("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1"),
    *("PhysicalDeltaX", "PhysicalDeltaY"),
)
"""Elements of an ultrasound region, in the order of the lists in `Regions` (PS3.3 C.8.5.5)."""


def _region(item: Dataset) -> list[float]:
    return [float(item.get(keyword) or 0) for keyword in REGION]


def _check_pixels(file: DicomFile, facts: Mapping[str, Any]) -> None:
    """Stored pixels must be as many as the header says.

    Raises:
        InputError: `malformed` without image sizes, `truncated` with fewer bytes or frames than announced.
    """
    if facts.get("SOPClassUID") not in FAMILY:
        return
    missing = [keyword for keyword in ("Rows", "Columns", "BitsAllocated") if not facts.get(keyword)]
    if missing:
        raise InputError("malformed", f"{', '.join(missing)} missing or zero.")
    count = frame_count(facts)
    if file.pixels is None or file.transfer_syntax not in DECODABLE:
        return
    if file.pixels.missing:
        raise InputError("truncated", f"The file ends {file.pixels.missing} bytes before its pixels do.")
    if file.transfer_syntax in NATIVE:
        samples = 2 if facts.get("PhotometricInterpretation") == "YBR_FULL_422" else facts.get("SamplesPerPixel", 1)
        needed = (facts["Rows"] * facts["Columns"] * samples * facts["BitsAllocated"] * count + 7) // 8
        if file.pixels.length < needed:
            raise InputError("truncated", f"{file.pixels.length} of {needed} bytes of pixels are here.")
        if not file.stated and file.pixels.length > needed + 1:
            raise InputError("malformed", "It has no file meta information, and its pixels do not fit its header.")
    elif file.pixels.fragments < (1 if file.transfer_syntax in VIDEO else count):
        raise InputError("truncated", f"{file.pixels.fragments} of {count} compressed frames are here.")
