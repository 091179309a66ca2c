"""Protocols: published studies that can be run again by one command, one file each."""

from pathlib import Path

from medcam.plugins import Shelf
from medcam.protocols.base import Protocol

SHELF: Shelf[type[Protocol]] = Shelf("protocol", Path(__file__).parent, __name__)

__all__ = ["SHELF", "Protocol"]
