"""The same readers for MONAI's LoadImage: the same checks, the same refusals, and an affine that is right."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from medcam.errors import InputError, UsageError
from medcam.readers._index import assemble
from medcam.readers._process import Decoder
from medcam.readers._walk import Found, walk
from medcam.readers.base import Header
from medcam.study import FileRecord, Intake, Pixels, Series


class MedcamReader(ImageReader):  # type: ignore[misc]  # monai has no types
    """Reads one series: a file, the files of one series, or a folder that holds one.

    Arrays are in MONAI's order, (W, H), (W, H, D) or (W, H, T), colour last; the affine maps their index to RAS mm
    where the place in the patient is known (`space` says so), else to columns, rows and frames.

    Args:
        reader: only series of this member of the shelf, e.g. "dicom"; None for any.

    A refusal is raised by `get_data`, not by `read`: LoadImage would catch it there and quietly use another reader.
    """

    def __init__(self, reader: str | None = None) -> None:
        self._reader = reader
        self._decoder: Decoder | None = None

    def verify_suffix(self, filename: Any) -> bool:
        """Any existing path: contents decide, not names."""
        return all(path.exists() for path in _paths(filename))

    def read(self, data: Any, **kwargs: Any) -> tuple[Path, ...]:
        """The paths, absolute; nothing is opened yet."""
        return _paths(data)

    def get_data(self, img: Sequence[Path]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Values and metadata.

        Raises:
            InputError: the only series there was refused, or cannot be decoded.
            UsageError: there is no series, more than one, or a slide, which is read by tiles.
        """
        series = self._only(self._intake(img))
        if self._decoder is None:
            self._decoder = Decoder()
        with tempfile.TemporaryDirectory() as folder:
            pixels = self._decoder.pixels(series, Path(folder))
            array = np.array(pixels.array)
            meta = _meta(series, pixels)
            del pixels
        axes = meta[MetaKeys.SPATIAL_SHAPE].size
        return array.transpose(*reversed(range(axes)), *range(axes, array.ndim)), meta

    def _intake(self, paths: Sequence[Path]) -> Intake:
        if self._decoder is None:
            self._decoder = Decoder()
        found = [item for path in paths for item in walk(path)]
        files = [Path(item.path) for item in found if isinstance(item, Found)]
        outcomes = [*self._decoder.headers(files), *(item for item in found if isinstance(item, FileRecord))]
        headers = [outcome for outcome in outcomes if isinstance(outcome, Header)]
        records = {outcome.path: outcome for outcome in outcomes if isinstance(outcome, FileRecord)}
        return assemble(paths[0], headers, records)

    def _only(self, intake: Intake) -> Series:
        chosen = [series for series in intake.used if self._reader in (None, series.reader)]
        if len(chosen) == 1 and chosen[0].kind != "slide":
            return chosen[0]
        if len(chosen) == 1:
            raise UsageError("slide", "A slide is read by tiles; use medcam.readers.Decoder.pixels.")
        if chosen:
            raise UsageError("several-series", f"{len(chosen)} series are here; give the files of one.")
        reasons = [record.reason for record in intake.series if record.status == "refused"]
        reasons += [record.reason for record in intake.files if record.status == "refused"]
        for reason in filter(None, reasons):
            raise InputError(reason.code, str(reason))
        raise UsageError("no-images", f"No series that can be read is in {intake.root}.")

    def __del__(self) -> None:
        """End the subprocess with its reader."""
        decoder: Decoder | None = self.__dict__.get("_decoder")
        if decoder is not None:
            decoder.close()

    def __getstate__(self) -> dict[str, Any]:
        """Without the subprocess, so that data loaders can send the reader to their own."""
        return {"_reader": self._reader, "_decoder": None}


def _paths(data: Any) -> tuple[Path, ...]:
    given = (data,) if isinstance(data, str | Path) else tuple(data)
    return tuple(Path(path).absolute() for path in given)


def _meta(series: Series, pixels: Pixels) -> dict[str, Any]:
    grid = pixels.grid
    axes = len(grid.shape)
    order = [2, 1, 0][:axes]  # columns first; our matrix counts (d, h, w)
    affine = np.eye(axes + 1)
    affine[:axes, :axes] = grid.matrix[:axes, order]
    affine[:axes, axes] = grid.matrix[:axes, 3]
    meta: dict[str, Any] = {
        MetaKeys.AFFINE: affine,
        MetaKeys.ORIGINAL_AFFINE: affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.array(grid.shape[::-1]),
        MetaKeys.ORIGINAL_CHANNEL_DIM: -1 if pixels.colour else float("nan"),
        "modality": series.modality,
        "unit": pixels.unit,
    }
    if grid.space == "patient":
        meta[MetaKeys.SPACE] = SpaceKeys.RAS
    return meta
