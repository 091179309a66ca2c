"""What is asked of a header before a decoder runs: can it be decoded, understood, and held in memory?"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.uid import UID

from medcam.errors import InputError
from medcam.readers import _budget
from medcam.readers._dicom_frames import frame_count
from medcam.readers._dicom_kinds import DECODABLE, EXTENDED_JPEG, FAMILY, VIDEO, said

SAMPLES: Final = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_RCT": 3, "YBR_ICT": 3,
}  # fmt: skip
"""Photometric interpretations that can be turned into grey or RGB, with their samples per pixel."""


def require_readable(facts: Mapping[str, Any]) -> None:
    """Refuse an object that cannot be read as its header states, or not in the room there is.

    Raises:
        InputError: `transfer-syntax`, `photometric`, `malformed`, or the damage seen when the header was read.
        BudgetError: `too-large`.
    """
    if "Damage" in facts:
        raise InputError(*facts["Damage"])
    syntax = facts["TransferSyntaxUID"]
    if syntax not in DECODABLE:
        raise InputError("transfer-syntax", f"Transfer syntax {said(UID(syntax).name)}.")
    if syntax == EXTENDED_JPEG and facts["BitsAllocated"] > 8 and facts.get("PixelRepresentation"):
        raise InputError("transfer-syntax", "JPEG Extended of signed values.")
    photometric, samples = str(facts.get("PhotometricInterpretation", "")), facts.get("SamplesPerPixel", 1)
    grey = photometric in ("MONOCHROME1", "MONOCHROME2")
    if not grey and FAMILY[facts["SOPClassUID"]] != "plane":
        raise InputError(
            "photometric", f"{said(photometric) or 'No photometric interpretation'} in slices of a volume."
        )
    shape = facts.get("PresentationLUTShape")
    if (photometric, shape) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        raise InputError("photometric", f"{photometric} contradicts Presentation LUT Shape {shape}.")
    if syntax not in VIDEO and samples != SAMPLES.get(photometric):
        raise InputError(
            "photometric", f"{said(photometric) or 'No photometric interpretation'} with {samples} samples per pixel."
        )
    stored = max(facts["BitsAllocated"] // 8, 1)
    value = 3 if not grey else 1 if stored == 1 and FAMILY[facts["SOPClassUID"]] == "plane" else 4
    _budget.require((facts.get("PixelBytes", 0),), 1)
    _budget.require((frame_count(facts), facts["Rows"], facts["Columns"]), max(samples * stored, value))
