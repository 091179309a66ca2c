"""Functional groups of an enhanced object: what is said of each frame, or once of all (PS3.3 C.7.6.16)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset

from medcam.errors import InputError

Groups = dict[str, list[str]]

GROUPS: Final = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
    "FrameContentSequence": ("StackID", "TemporalPositionIndex", "FrameAcquisitionNumber"),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRDiffusionSequence": ("DiffusionBValue",),
    "CardiacSynchronizationSequence": ("NominalPercentageOfCardiacPhase",),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
}


def frames(dataset: Dataset) -> Groups:
    """Values by keyword: one text for each frame, or a single one that holds for all; "" where a frame has none."""
    shared = dict(next((_values(item) for item in dataset.get("SharedFunctionalGroupsSequence") or ()), ()))
    each = [dict(_values(item)) for item in dataset.get("PerFrameFunctionalGroupsSequence") or ()]
    groups: Groups = {}
    for keyword in sorted(shared.keys() | {keyword for frame in each for keyword in frame}):
        texts = [frame.get(keyword, shared.get(keyword, "")) for frame in each] or [shared[keyword]]
        groups[keyword] = texts[:1] if len(set(texts)) == 1 else texts
    return groups


def of_frame(facts: Mapping[str, Any], keyword: str, frame: int) -> str:
    """What header facts say of a frame (from 0): its functional group, else the plain element, else ""."""
    texts: list[str] = facts.get("Frames", {}).get(keyword, [])
    if not texts:
        return str(facts.get(keyword, ""))
    return texts[0] if len(texts) == 1 else texts[frame] if frame < len(texts) else ""


def _values(item: Dataset) -> Iterator[tuple[str, str]]:
    for sequence, keywords in GROUPS.items():
        for group in list(item.get(sequence) or ())[:1]:
            for keyword in keywords:
                value = group.get(keyword)
                if keyword == "AnatomicRegionSequence":
                    value = next((code.get("CodeMeaning") for code in value or ()), None)
                if value is not None:
                    plain = isinstance(value, str | float | int)
                    yield keyword, str(value) if plain else "\\".join(str(part) for part in value)


def frame_count(facts: Mapping[str, Any]) -> int:
    """Number of Frames, one if absent.

    Raises:
        InputError: it is not a positive whole number.
    """
    text = str(facts.get("NumberOfFrames", "1"))
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise InputError("malformed", "Number of Frames is not a positive whole number.")
    return int(text)
