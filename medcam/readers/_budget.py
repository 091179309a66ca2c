"""How much a decoder may take, asked before it runs: the header says how large the pixels will be."""

import math
import os
from collections.abc import Sequence

from medcam.errors import BudgetError

GIB = 1 << 30


def decode_gib() -> float:
    """GiB that the pixels of one series may take: MEDCAM_DECODE_GIB, or 2."""
    return float(os.environ.get("MEDCAM_DECODE_GIB", "2"))


def decode_seconds() -> float:
    """Seconds that decoding one series may take: MEDCAM_DECODE_SECONDS, or 120."""
    return float(os.environ.get("MEDCAM_DECODE_SECONDS", "120"))


def require(shape: Sequence[int], bytes_per_value: int) -> None:
    """Refuse pixels of `shape` that would not fit.

    Raises:
        BudgetError: they would need more than `decode_gib`.
    """
    needed = math.prod(int(size) for size in shape) * bytes_per_value
    if needed > decode_gib() * GIB:
        seen = " x ".join(str(size) for size in shape)
        raise BudgetError("too-large", f"{seen} values need {needed / GIB:.1f} GiB, {decode_gib():g} GiB are allowed")
