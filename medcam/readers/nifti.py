"""NIfTI-1 and NIfTI-2 volumes (.nii, .nii.gz), read by nibabel."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.errors import InputError
from medcam.grid import Matrix
from medcam.readers import _budget, _volume
from medcam.readers.base import Header, Reader
from medcam.study import Identifiers, Pixels, Reason, Series, SeriesRecord, SourceFile

MAGIC = ((344, b"n+1\0"), (4, b"n+2\0"))
LARGEST_OFFSET = 16 << 20
"""Bytes before the voxels; more would only make a compressed file expensive to skip through."""

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""xyzt_units: unknown (millimetres by convention), metre, millimetre, micrometre."""

LABELS, GREY_KINDS = 1002, "iuf"


class Nifti(Reader):
    """3-D volumes with a place in the patient. A NIfTI file states no modality and no anatomy."""

    name = "nifti"
    suffixes = (".nii", ".nii.gz")

    def recognises(self, path: Path, head: bytes) -> bool:
        if any(head[start : start + 4] == magic for start, magic in MAGIC):
            return True
        return path.name.lower().endswith(self.suffixes)

    def header(self, path: Path) -> Header:
        import nibabel

        image = _opened(path)
        stored = image.header
        shape = [int(size) for size in image.shape]
        while len(shape) > 3 and shape[-1] == 1:
            shape.pop()
        facts: dict[str, Any] = {"stored_shape": shape, "labels": int(stored["intent_code"]) == LABELS}
        dtype = stored.get_data_dtype()
        if dtype.kind not in GREY_KINDS:
            raise InputError("photometric", f"voxels of type {dtype} are not grey values")
        if len(shape) != 3 or min(shape) < 1:
            return _header(path, facts)
        if image.dataobj.offset > LARGEST_OFFSET:
            raise InputError("malformed", "the voxels begin too far into the file")
        size = image.dataobj.offset + int(np.prod(shape)) * dtype.itemsize
        if not path.name.lower().endswith(".gz") and path.stat().st_size < size:
            raise InputError("truncated", f"{path.stat().st_size} of {size} bytes are there")
        assert isinstance(image, nibabel.Nifti1Image)  # NIfTI-2 is a kind of NIfTI-1 to nibabel
        facts.update(_volume.upright(shape, _affine(stored, shape)))
        return _header(path, facts)

    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        return [_series(header) for header in headers]

    def pixels(self, series: Series) -> Pixels:
        path = Path(series.files[0].path)
        image = _opened(path)
        slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
        scaled = (slope, inter) != (1, 0)
        dtype = image.header.get_data_dtype()
        shape = image.shape[:3]
        _budget.require(shape, dtype.itemsize + (4 if scaled else 0))
        stored = _stored(path, image.dataobj.offset, math.prod(shape) * dtype.itemsize)
        values: npt.NDArray[Any] = np.frombuffer(stored, dtype).reshape(shape, order="F")
        steps = ["turned to slices going up, rows to the back, columns to the left"]
        if scaled:
            values = values * np.float32(slope) + np.float32(inter)
            steps.insert(0, f"value = {slope:g} * stored + {inter:g}")
        array = _volume.turned(values, self.header(path).facts)
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return Pixels(native, series.grid, colour=False, unit="grey", steps=tuple(steps))


def _stored(path: Path, offset: int, size: int) -> bytes:
    """The bytes of the voxels. A compressed file is read to its end, where its check sum is; nibabel stops before."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            file.seek(offset)
            stored = file.read(size)
            while packed and file.tell() < offset + size + LARGEST_OFFSET and file.read(1 << 20):
                pass
    except (zlib.error, gzip.BadGzipFile):
        raise InputError("decode-failed", "the compressed voxels are damaged") from None
    except EOFError:
        raise InputError("truncated", "the compressed voxels end too early") from None
    if len(stored) < size:
        raise InputError("truncated", f"{len(stored)} of {size} bytes are there")
    return stored


def _opened(path: Path) -> Any:
    """The file's header, and its voxels as a promise."""
    import nibabel

    try:
        return nibabel.load(path, mmap=False)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, ValueError) as error:
        raise InputError("malformed", f"not a sound NIfTI header ({type(error).__name__})") from None


def _affine(stored: Any, shape: Sequence[int]) -> Matrix:
    """Index (i, j, k) to RAS mm; sform and qform must not contradict each other."""
    sform, sform_code = stored.get_sform(coded=True)
    qform, qform_code = stored.get_qform(coded=True)
    if not sform_code and not qform_code:
        raise InputError("no-geometry", "neither sform nor qform is set")
    if sform_code and qform_code:
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape])).reshape(3, -1)
        apart = np.linalg.norm((sform - qform)[:3, :3] @ corners + (sform - qform)[:3, 3:], axis=0).max()
        if not apart <= np.linalg.norm(sform[:3, :3], axis=0).min() / 2:
            raise InputError("no-geometry", f"sform and qform place a corner {apart:.1f} apart")
    affine: Matrix = np.array(sform if sform_code else qform, dtype=np.float64)
    affine[:3] *= MM_PER_UNIT.get(int(stored["xyzt_units"]) & 7, 1.0)
    return affine


def _header(path: Path, facts: dict[str, Any]) -> Header:
    status = path.stat()
    return Header(str(path), status.st_size, status.st_mtime_ns, Nifti.name, facts)


def _series(header: Header) -> SeriesRecord:
    facts, files = header.facts, (header.path,)
    shape = " x ".join(str(size) for size in facts["stored_shape"])
    description = f"NIfTI {shape}"
    if "affine" not in facts:
        several = len(facts["stored_shape"]) > 3
        reason = Reason("mixed-times" if several else "empty", f"{shape} values, not a volume")
        return SeriesRecord("refused", description, files, reason=reason)
    if facts["labels"]:
        return SeriesRecord("skipped", description, files, reason=Reason("segmentation", "its intent is labels"))
    source = SourceFile(header.path, header.size_bytes, header.mtime_ns)
    series = Series(
        reader=Nifti.name,
        kind="volume",
        modality="",
        files=(source,),
        frames=_volume.frames(facts),
        grid=_volume.grid(facts),
        colour=False,
        facts={},
        identifiers=Identifiers(),
    )
    return SeriesRecord("used", description, files, series=series)
