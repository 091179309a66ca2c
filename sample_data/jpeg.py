"""Frames as encapsulated JPEG baseline, the way an ultrasound machine or a slide scanner stores colour."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from sample_data.dicom import save


def save_jpeg(image: Dataset, frames: NDArray[np.uint8], path: Path, quality: int = 92) -> Path:
    """Write `image` with `frames` (T, H, W, 3) RGB as YBR_FULL_422, one fragment per frame (PS3.5 8.2.1, A.4.1)."""
    streams = [_encoded(frame, quality) for frame in frames]
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "YBR_FULL_422", 0
    image.LossyImageCompression, image.LossyImageCompressionMethod = "01", "ISO_10918_1"
    image.LossyImageCompressionRatio = round(frames.nbytes / sum(map(len, streams)), 2)
    image.PixelData = encapsulate(streams)
    image["PixelData"].is_undefined_length = True
    return save(image, path, JPEGBaseline8Bit)


def _encoded(frame: NDArray[np.uint8], quality: int) -> bytes:
    stream = BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality, subsampling="4:2:2")
    return stream.getvalue()
