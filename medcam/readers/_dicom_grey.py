"""Grey values: modality rescale frame by frame, padding, MONOCHROME1 (PS3.3 C.11.1, C.7.6.3.1, C.7.5.1.1.2)."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut

from medcam.errors import InputError
from medcam.readers._dicom_frames import of_frame
from medcam.readers._dicom_plane import numbers
from medcam.study import Pixels, Series

Values = npt.NDArray[Any]

INT16: Final = np.iinfo(np.int16)


class Grey:
    """An image, cine or volume of grey values, filled plane by plane in the smallest type that is exact.

    uint8 for 8-bit images, int16 where all values are whole and fit (most CT), else float32.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        self._array: Values | None = None
        self._steps: dict[str, None] = {}  # in order, each once
        self._window: tuple[float, float] | None = None
        self._hounsfield = False
        self._inverted = False

    def open(self, facts: Mapping[str, Any], dataset: Dataset) -> None:
        """The header of the file whose planes come next."""
        hounsfield = facts.get("Modality") == "CT" and of_frame(facts, "RescaleType", 0) in ("", "HU")
        hounsfield = hounsfield and of_frame(facts, "RescaleIntercept", 0) != ""
        first = facts["PhotometricInterpretation"] == "MONOCHROME1"
        inverted = first and not hounsfield
        if self._array is not None and (hounsfield, inverted) != (self._hounsfield, self._inverted):
            raise InputError("photometric", "Some slices are inverted or in other units than others.")
        self._facts, self._dataset = facts, dataset
        self._hounsfield, self._inverted = hounsfield, inverted
        if first and hounsfield:
            self._note("MONOCHROME1 says how to show the image: Hounsfield units are kept")
        self._window = self._window or _window(facts, dataset)

    def put(self, stored: Values, frame: int, place: int) -> None:
        """The stored values (H, W) of a frame, to their place along the first axis."""
        padding = _padding(stored, self._facts)
        values, slope, intercept = self._modality(stored, frame)
        plane = self._plane(place, _smallest_type(values, slope, intercept))
        _rescale(values, slope, intercept, plane)
        if padding is not None and padding.any() and not padding.all():
            real = plane[~padding]
            plane[padding] = real.max() if self._inverted else real.min()
            self._note("padding set to the " + ("brightest value" if self._inverted else "lowest value"))

    def pixels(self) -> Pixels:
        """The whole series."""
        assert self._array is not None
        if self._inverted:
            lowest, highest = self._array.min(), self._array.max()
            np.subtract(highest, self._array, out=self._array)  # wraps in between where whole numbers overflow
            self._array += lowest
            if self._window is not None:
                self._window = float(lowest) + float(highest) - self._window[0], self._window[1]
            self._note("MONOCHROME1 inverted")
        unit: Literal["HU", "grey"] = "HU" if self._hounsfield else "grey"
        return Pixels(self._array, self._series.grid, False, unit, self._window, tuple(self._steps))

    def _note(self, step: str) -> None:
        self._steps[step] = None

    def _plane(self, place: int, kind: npt.DTypeLike) -> Values:
        """Where a frame's values (H, W) of this type go; the array grows to a larger type if it must."""
        if self._array is None:
            self._array = np.zeros(self._series.grid.shape, kind)
        elif not np.can_cast(kind, self._array.dtype):
            self._array = self._array.astype(np.promote_types(kind, self._array.dtype))
        plane: Values = self._array[place if self._array.ndim == 3 else ...]
        return plane

    def _modality(self, stored: Values, frame: int) -> tuple[Values, float, float]:
        """Values, slope and intercept that give what the scanner measured."""
        if self._dataset.get("ModalityLUTSequence"):
            self._note("Modality LUT")
            return apply_modality_lut(stored, self._dataset), 1.0, 0.0
        slope = numbers(of_frame(self._facts, "RescaleSlope", frame) or "1")
        intercept = numbers(of_frame(self._facts, "RescaleIntercept", frame) or "0")
        if len(slope) != 1 or len(intercept) != 1 or slope[0] == 0:
            raise InputError("malformed", "The rescale slope or intercept is not a sensible number.")
        if (slope[0], intercept[0]) != (1, 0):
            self._note("rescaled plane by plane")
        return stored, slope[0], intercept[0]


def _smallest_type(stored: Values, slope: float, intercept: float) -> npt.DTypeLike:
    """uint8 where rescaling changes nothing, int16 where all values are whole and fit, else float32."""
    if stored.dtype == np.uint8 and (slope, intercept) == (1, 0):
        return np.uint8
    if stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        ends = [int(end) * slope + intercept for end in (stored.min(), stored.max())]
        if INT16.min <= min(ends) and max(ends) <= INT16.max:
            return np.int16
    return np.float32


def _rescale(stored: Values, slope: float, intercept: float, plane: Values) -> None:
    """Into `plane` (H, W), in one pass where it can: a series has a hundred million values."""
    if plane.dtype != np.int16:
        plane[:] = stored if (slope, intercept) == (1, 0) else stored.astype(np.float64) * slope + intercept
        return
    # what wraps around on the way wraps back: the result fits
    narrow = stored.view(np.int16) if stored.dtype == np.uint16 else stored.astype(np.int16, copy=False)
    factor, shift = np.array([slope, intercept]).astype(np.int64).astype(np.int16)
    if factor == 1:
        np.add(narrow, shift, out=plane)
    else:
        np.multiply(narrow, factor, out=plane)
        plane += shift


def _padding(stored: Values, facts: Mapping[str, Any]) -> npt.NDArray[np.bool_] | None:
    """Where stored values (H, W) are Pixel Padding Value, or between it and its Range Limit (PS3.3 C.7.5.1.1.2)."""
    value = numbers(facts.get("PixelPaddingValue", ""))
    if len(value) != 1 or stored.dtype.kind not in "iu":
        return None
    limit = numbers(facts.get("PixelPaddingRangeLimit", "")) or value
    # writers disagree whether the value is signed: what counts is its bits
    ends = np.array([value[0], limit[0]], dtype=np.int64).astype(stored.dtype)
    padding: npt.NDArray[np.bool_] = (stored >= ends.min()) & (stored <= ends.max())
    return padding


def _window(facts: Mapping[str, Any], dataset: Dataset) -> tuple[float, float] | None:
    """Centre and width for display: the first window, else the input range of the VOI LUT."""
    centre, width = (numbers(of_frame(facts, keyword, 0)) for keyword in ("WindowCenter", "WindowWidth"))
    if centre and width and width[0] > 0:
        return centre[0], width[0]
    for table in dataset.get("VOILUTSequence") or ():
        count, start = (int(value) for value in table.LUTDescriptor[:2])
        return start + (count or 2**16) / 2, float(count or 2**16)
    return None
