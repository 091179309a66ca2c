"""Readers: what a folder holds, and its pixels with their place in space; untrusted bytes stay in a subprocess."""

from medcam.readers._index import index
from medcam.readers._process import Decoder
from medcam.readers._shelf import SHELF
from medcam.readers.base import Header, Reader

__all__ = ["SHELF", "Decoder", "Header", "Reader", "index"]
