"""How much a decoder may take, asked before it runs: the header says how large the pixels will be."""

import math
import os
from collections.abc import Sequence

from medcam.errors import BudgetError, UsageError

GIB = 1 << 30


def decode_gib() -> float:
    """GiB that the pixels of one series may take: MEDCAM_DECODE_GIB, or 2."""
    return _setting("MEDCAM_DECODE_GIB", 2.0)


def decode_seconds() -> float:
    """Seconds that decoding one series may take: MEDCAM_DECODE_SECONDS, or 120."""
    return _setting("MEDCAM_DECODE_SECONDS", 120.0)


def require(shape: Sequence[int], bytes_per_value: int) -> None:
    """Refuse pixels of `shape` that would not fit.

    Raises:
        BudgetError: they would need more than `decode_gib`.
    """
    needed = math.prod(int(size) for size in shape) * bytes_per_value
    if needed > decode_gib() * GIB:
        seen = " x ".join(str(size) for size in shape)
        raise BudgetError("too-large", f"{seen} values need {needed / GIB:.1f} GiB, {decode_gib():g} GiB are allowed")


def _setting(name: str, default: float) -> float:
    stated = os.environ.get(name, "")
    try:
        value = float(stated or default)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError("bad-setting", f"{name} is {stated!r}; it must be a number above 0.")
    return value
