"""Explanation methods, one file each, behind one call: `explain(model, x)`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcam.plugins import Shelf

if TYPE_CHECKING:
    from medcam.explainers._bag import explain_bag
    from medcam.explainers._capture import Tap
    from medcam.explainers._explain import explain
    from medcam.explainers._result import Explained
    from medcam.explainers._stitch import Placement, stitch
    from medcam.explainers.base import Method

__all__ = ["SHELF", "Explained", "Placement", "Tap", "explain", "explain_bag", "stitch"]

SHELF: "Shelf[type[Method]]" = Shelf("explainer", Path(__file__).parent, __name__)
"""The methods by file name; nothing is imported before one is loaded."""


def __getattr__(name: str) -> Any:
    """`explain` and the results are imported when first asked for: they need torch."""
    if name == "explain":
        from medcam.explainers._explain import explain

        return explain
    if name == "explain_bag":
        from medcam.explainers._bag import explain_bag

        return explain_bag
    if name == "Explained":
        from medcam.explainers._result import Explained

        return Explained
    if name == "Tap":
        from medcam.explainers._capture import Tap

        return Tap
    if name in ("Placement", "stitch"):
        from medcam.explainers import _stitch

        return getattr(_stitch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
