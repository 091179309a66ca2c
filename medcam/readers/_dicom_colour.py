"""Colour: every colour model as RGB of 8 bits per sample (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from medcam.errors import InputError
from medcam.study import Pixels, Series

Values = npt.NDArray[Any]


class Colour:
    """An image or cine in RGB, filled frame by frame."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._array = np.zeros((*series.grid.shape, 3), np.uint8)
        self._steps: dict[str, None] = {}

    def open(self, facts: Mapping[str, Any], dataset: Dataset) -> None:
        """The header of the file whose frames come next."""
        photometric = facts["PhotometricInterpretation"]
        self._bits = int(facts.get("BitsStored", 8))
        self._palette = _palette(dataset, facts) if photometric == "PALETTE COLOR" else None
        if photometric != "RGB":
            self._steps[f"{photometric} to RGB"] = None

    def put(self, stored: Values, _frame: int, place: int) -> None:
        """The decoded values of a frame, (H, W) indices into the palette or (H, W, 3) RGB."""
        if self._palette is not None:
            values = self._palette[stored.view(f"u{stored.itemsize}")]
        elif stored.ndim != 3 or stored.shape[2] != 3:
            raise InputError("photometric", "The frames have no three colours.")
        else:
            values = stored >> max(self._bits - 8, 0) if stored.itemsize > 1 else stored
        self._array[place if self._array.ndim == 4 else ...] = values

    def pixels(self) -> Pixels:
        """The whole series."""
        return Pixels(self._array, self._series.grid, True, "RGB", None, tuple(self._steps))


def _palette(dataset: Dataset, facts: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """The colour (N, 3) of every value that can be stored; the last entry beyond the end of the table."""
    if facts["BitsAllocated"] > 16:
        raise InputError("photometric", f"A palette with {facts['BitsAllocated']} bits per index.")
    indices = np.arange(2 ** facts["BitsAllocated"])
    colours: Values = apply_color_lut(indices.reshape(-1, 1), dataset)[:, 0, :3]
    if colours.dtype.itemsize > 1 and colours.max() > 255:  # some writers keep 8-bit colours in 16-bit entries
        colours = colours >> 8
    return colours.astype(np.uint8)
