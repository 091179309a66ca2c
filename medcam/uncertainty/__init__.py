"""How far score and evidence move when the input or the network is disturbed; one file per kind of disturbance."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcam.plugins import Shelf

if TYPE_CHECKING:
    from medcam.uncertainty.base import Disturbance, Spread

__all__ = ["SHELF", "Disturbance", "Spread"]

SHELF: "Shelf[type[Disturbance]]" = Shelf("disturbance", Path(__file__).parent, __name__)
"""The disturbances by file name; nothing is imported before one is loaded."""


def __getattr__(name: str) -> Any:
    """The contract is imported when first asked for: it needs torch."""
    if name in __all__:
        from medcam.uncertainty import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
