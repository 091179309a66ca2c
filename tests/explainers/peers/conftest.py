"""The peers that are not installed with medcam; tests that need them skip by name where they are absent."""

from types import ModuleType
from typing import Any

import pytest

from tests.explainers.peers.installed import DISTRIBUTIONS, peer


@pytest.fixture(scope="session")
def grad_cam() -> Any:
    """The package `pytorch_grad_cam`."""
    return _needed("pytorch_grad_cam")


@pytest.fixture(scope="session")
def torchcam() -> Any:
    """The module `torchcam.methods`."""
    return _needed("torchcam").methods


def _needed(module: str) -> ModuleType:
    found = peer(module)
    if found is None:
        pytest.skip(f"needs {DISTRIBUTIONS[module]}: pip install 'medcam-toolkit[peers]'")
    return found
