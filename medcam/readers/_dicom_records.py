"""Records of series: what is told of the used ones and of those left out."""

from typing import Final

from medcam.grid import Grid
from medcam.readers import _budget
from medcam.readers._dicom_frames import of_frame
from medcam.readers.base import Header
from medcam.study import Identifiers, Kind, Reason, Series, SeriesRecord, SourceFile, Status

Group = list[Header]

SHOWN: Final = (
    *("Modality", "SOPClassUID", "TransferSyntaxUID", "PhotometricInterpretation", "ImageType", "ConversionType"),
    *("BodyPartExamined", "ViewPosition", "Laterality", "PatientSex", "PatientAge", "PatientPosition"),
    *("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "PresentationIntentType"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "SliceThickness", "PixelSpacingCalibrationType"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("BurnedInAnnotation", "BitsStored"),
)
"""Facts that go with a series: none of them identifies anybody."""


def used(
    kind: Kind, group: Group, frames: tuple[tuple[int, int], ...], grid: Grid, made_of: dict[str, str] | None = None
) -> SeriesRecord:
    """A series that can be loaded from the files of `group`; `made_of` adds facts about its grid.

    Raises:
        BudgetError: `too-large`.
    """
    first = group[0]
    facts = _shown(first) | (made_of or {})
    colour = not str(facts.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    if kind != "slide":
        _budget.require(grid.shape, 3 if colour else 1 if first.facts["BitsAllocated"] <= 8 and kind != "volume" else 4)
    series = Series(
        reader="slide" if kind == "slide" else "dicom",
        kind=kind,
        modality=facts.get("Modality", ""),
        files=tuple(_source(header) for header in group),
        frames=frames,
        grid=grid,
        colour=colour,
        facts=facts,
        identifiers=_identifiers(first),
    )
    size = " x ".join(str(length) for length in grid.shape)
    description = f"{series.modality or 'unknown'} {kind} of {size}"
    files = tuple(header.path for header in group)
    return SeriesRecord("used", description, files, series.modality, facts, series.identifiers, series)


def left_out(status: Status, group: Group, reason: Reason) -> SeriesRecord:
    """Files that are not used, and why."""
    first = group[0]
    facts = _shown(first)
    modality = facts.get("Modality", "")
    description = f"{modality or 'DICOM'}, {len(group)} file{'s' * (len(group) > 1)}"
    files = tuple(header.path for header in group)
    return SeriesRecord(status, description, files, modality, facts, _identifiers(first), None, reason)


def _source(header: Header) -> SourceFile:
    uids = (str(header.facts.get(keyword, "")) for keyword in ("SOPInstanceUID", "SOPClassUID"))
    return SourceFile(header.path, header.size_bytes, header.mtime_ns, *uids)


def _identifiers(header: Header) -> Identifiers:
    keywords = (
        *("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID"),
        *("PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    )
    return Identifiers(*(str(header.facts.get(keyword, "")) for keyword in keywords))


def _shown(header: Header) -> dict[str, str]:
    facts = {keyword: of_frame(header.facts, keyword, 0) for keyword in SHOWN}
    facts["BodyPartExamined"] = (
        facts["BodyPartExamined"]
        or str(header.facts.get("AnatomicRegion", ""))
        or of_frame(header.facts, "AnatomicRegionSequence", 0).upper()
    )
    facts["ViewPosition"] = facts["ViewPosition"] or str(header.facts.get("ViewCode", ""))
    facts["Laterality"] = str(header.facts.get("ImageLaterality", "")) or facts["Laterality"]
    return {keyword: text for keyword, text in facts.items() if text}
