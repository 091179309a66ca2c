"""What every generator returns: the pixels and the truth about them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPATIAL_AXES = {"CT": 3, "DX": 2, "US": 3, "SM": 2}  # CT (D, H, W), DX (H, W), US (T, H, W), SM (H, W)


@dataclass(frozen=True)
class Lesion:
    """One planted finding, in array order of the phantom it belongs to.

    Arguments: `kind` in the field's words ("solid nodule"); `box` (start, stop) index per axis, stop exclusive;
    `centre` index per axis, where whole numbers are voxel centres; `size_mm` the largest diameter in mm.
    """

    kind: str
    box: tuple[tuple[int, ...], tuple[int, ...]]
    centre: tuple[float, ...]
    size_mm: float

    @classmethod
    def of_mask(cls, kind: str, mask: NDArray[np.bool_], size_mm: float) -> Lesion:
        """The lesion that covers exactly `mask`: bounding box and centre of mass. ValueError if the mask is empty."""
        index = np.nonzero(mask)
        if not len(index[0]):
            raise ValueError(f"the mask of the {kind} is empty")
        start = tuple(int(axis.min()) for axis in index)
        stop = tuple(int(axis.max()) + 1 for axis in index)
        return cls(kind, (start, stop), tuple(float(axis.mean()) for axis in index), float(size_mm))


@dataclass(frozen=True)
class Phantom:
    """One synthetic image with exact truth.

    `modality` and `pixels`: "CT" (D, H, W) float32 HU, d towards the head, h to the back, w to the patient's left;
    "DX" (H, W) float32 in [0, 1], bright = dense; "US" (T, H, W, 3) uint8; "SM" (H, W, 3) uint8.
    `mask` bool, lesion pixels, shape of `pixels` without channels; `label` 1 if and only if the mask has any.
    `spacing` mm per axis in array order (US: row, column). `frame_times_s` seconds of each frame (US, else empty).
    `distractors` names what is in the picture but unrelated to the label. `view` is PA, AP or LL (DX).
    ValueError if mask, label and lesions disagree.
    """

    modality: str
    pixels: NDArray[np.generic]
    mask: NDArray[np.bool_]
    label: int
    spacing: tuple[float, ...]
    lesions: tuple[Lesion, ...]
    frame_times_s: tuple[float, ...] = ()
    distractors: tuple[str, ...] = ()
    view: str = ""

    def __post_init__(self) -> None:
        if self.mask.shape != self.pixels.shape[: SPATIAL_AXES[self.modality]]:
            raise ValueError(f"mask {self.mask.shape} does not fit pixels {self.pixels.shape}")
        if not self.label == int(self.mask.any()) == int(bool(self.lesions)):
            raise ValueError("label, mask and lesions disagree")


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A random stream of its own for each purpose, so that adding a lesion moves no other draw of the same seed."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode())]))
