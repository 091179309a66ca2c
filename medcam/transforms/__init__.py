"""Transforms: from the values of a series to what a model sees, as MONAI Compose. One file each, named on the shelf."""

from pathlib import Path

from medcam.plugins import Shelf
from medcam.transforms.base import Build, Prepared, compose, prepare

SHELF: Shelf[Build] = Shelf("transform", Path(__file__).parent, __name__)

__all__ = ["SHELF", "Build", "Prepared", "compose", "prepare"]
