"""Readers: what a folder holds, and its pixels with their place in space; untrusted bytes stay in a subprocess."""

from typing import Any

from medcam.readers._index import index
from medcam.readers._process import Decoder
from medcam.readers._shelf import SHELF
from medcam.readers.base import Header, Reader

__all__ = ["SHELF", "Decoder", "Header", "Reader", "index", "monai_reader"]


def monai_reader(reader: str | None = None) -> Any:
    """A `monai.data.ImageReader` over these readers, for `monai.transforms.LoadImage(reader=...)`.

    Args:
        reader: only series of this member of the shelf, e.g. "dicom"; None for any.
    """
    from medcam.readers._monai import MedcamReader

    return MedcamReader(reader)
