"""The peers that are not installed with medcam: `pip install medcam-toolkit[peers]`; tests without them skip by name."""

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest
import torch

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""What torchvision describes to torch when it is imported, whether or not its own library could be loaded."""


@pytest.fixture(scope="session")
def grad_cam() -> Any:
    """The package `pytorch_grad_cam`."""
    _torchvision()
    return _peer("pytorch_grad_cam", "grad-cam")


@pytest.fixture(scope="session")
def torchcam() -> Any:
    """The module `torchcam.methods`."""
    _peer("torchcam", "torchcam")
    return importlib.import_module("torchcam.methods")


def _peer(module: str, distribution: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of their own imports
        return pytest.importorskip(module, reason=f"needs {distribution}: pip install 'medcam-toolkit[peers]'")


def _torchvision() -> None:
    """Make torchvision importable where it was built for another torch (CUDA beside CPU).

    Its compiled library then does not load, and the import fails at the first operator that it describes.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in OPERATORS:
            library.define(operator)
        _KEPT.append(library)
        importlib.import_module("torchvision")


_KEPT: list[torch.library.Library] = []
"""Operators go when the object that defined them does."""
