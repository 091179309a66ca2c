"""The shelf of readers."""

from pathlib import Path

from medcam.plugins import Shelf
from medcam.readers.base import Reader

SHELF: Shelf[type[Reader]] = Shelf("reader", Path(__file__).parent, "medcam.readers")
"""The readers by name, one family of formats each."""
