"""NIfTI-1 and NIfTI-2 volumes (.nii, .nii.gz), read by nibabel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
        image = _opened(Path(series.files[0].path))
        shape = tuple(int(size) for size in image.shape[:3])
        scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
        _budget.require(shape, 4 if scaled else image.get_data_dtype().itemsize)
        values = image.get_fdata(dtype=np.float32, caching="unchanged") if scaled else np.asanyarray(image.dataobj)
        facts = self.header(Path(series.files[0].path)).facts
        array = _volume.turned(values.reshape(shape), facts)
        steps = ["turned to slices going up, rows to the back, columns to the left"]
        if scaled:
            steps.insert(0, f"value = {image.dataobj.slope:g} * stored + {image.dataobj.inter:g}")
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        return Pixels(native, series.grid, colour=False, unit="grey", steps=tuple(steps))


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
