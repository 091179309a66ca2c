"""Import a peer that is not installed with medcam, if it is there at all: `pip install medcam-toolkit[peers]`."""

import importlib
import sys
import warnings
from types import ModuleType

import torch

DISTRIBUTIONS = {"pytorch_grad_cam": "grad-cam", "torchcam": "torchcam"}
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""What torchvision describes to torch when it is imported, whether or not its own library could be loaded."""

_kept: list[torch.library.Library] = []
"""Operators go when the object that defined them does."""


def peer(module: str) -> ModuleType | None:
    """The module, or None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of their own imports
        try:
            if module == "pytorch_grad_cam":
                _import_torchvision()
            return importlib.import_module(module)
        except ModuleNotFoundError:
            return None


def _import_torchvision() -> None:
    """Also where it was built for another torch (CUDA beside CPU).

    Its compiled library then does not load, and the import fails at the first operator that it describes.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in OPERATORS:
            library.define(operator)
        _kept.append(library)
        importlib.import_module("torchvision")
