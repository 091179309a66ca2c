"""NRRD and MetaImage files (.nrrd, .nhdr, .mha, .mhd), read by SimpleITK; its LPS becomes RAS here."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medcam.errors import InputError
from medcam.grid import Grid, Matrix
from medcam.readers import _budget, _itk_header, _volume
from medcam.readers.base import Header, Reader
from medcam.study import Identifiers, Pixels, Reason, Series, SeriesRecord, SourceFile

ENGINES = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_US": "US"}


class Itk(Reader):
    """Volumes and images of one grey value per cell. MetaImage may state a modality; neither states an anatomy."""

    name = "itk"
    suffixes = (".nrrd", ".nhdr", ".mha", ".mhd")

    def recognises(self, path: Path, head: bytes) -> bool:
        meta = head.lstrip().startswith((b"ObjectType", b"NDims")) and b"=" in head
        return head.startswith(b"NRRD000") or meta or path.suffix.lower() in self.suffixes

    def header(self, path: Path) -> Header:
        status = path.stat()
        return Header(str(path), status.st_size, status.st_mtime_ns, self.name, _facts(path))

    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        return [_series(header) for header in headers]

    def pixels(self, series: Series) -> Pixels:
        path = Path(series.files[0].path)
        facts = _facts(path)
        _budget.require(facts["size"], facts["bytes_per_value"])
        if facts["packed"]:
            _itk_header.verify(Path(facts["data_file"] or path), facts["data_start"])
        try:
            image = _opened(path, facts["family"]).Execute()
        except RuntimeError:  # its message quotes the path
            raise InputError("decode-failed", f"ITK could not read the {facts['family']} values") from None
        array = _library().GetArrayFromImage(image)  # (k, j, i) or (j, i)
        steps = []
        if series.kind == "volume":
            array = _volume.turned(array.transpose(2, 1, 0), facts)
            steps.append("turned to slices going up, rows to the back, columns to the left")
        return Pixels(array, series.grid, False, "HU" if series.modality == "CT" else "grey", steps=tuple(steps))


def _library() -> Any:
    import SimpleITK

    return SimpleITK


def _opened(path: Path, family: str) -> Any:
    itk = _library()
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = itk.ImageFileReader()
    reader.SetImageIO(ENGINES[family])
    reader.SetFileName(str(path))
    return reader


def _facts(path: Path) -> dict[str, Any]:
    itk = _library()
    family, fields, start = _itk_header.read(path)
    data_file, data_bytes = _itk_header.values_file(path, family, fields)
    start = 0 if data_file else start
    reader = _opened(path, family)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError("malformed", f"ITK could not read the {family} header") from None
    size = [int(count) for count in reader.GetSize()]
    while len(size) > 2 and size[-1] == 1 and len(size) != 3:
        size.pop()
    image = itk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    facts: dict[str, Any] = {
        "family": family,
        "data_file": str(data_file) if data_file else "",
        "data_start": start,
        "packed": fields.get("compresseddata", "").lower() == "true" or fields.get("encoding") in ("gzip", "gz"),
        "size": size,
        "components": int(reader.GetNumberOfComponents()),
        "bytes_per_value": int(image.GetSizeOfPixelComponent()),
        "modality": MODALITIES.get(fields.get("modality", ""), ""),
        "labels": any(name.startswith("segment0") for name in fields),
    }
    needed = math.prod(size) * facts["components"] * facts["bytes_per_value"]
    if _itk_header.is_raw(family, fields) and data_bytes - start < needed:
        raise InputError("truncated", f"{data_bytes - start} of {needed} bytes are there")
    if len(size) == 3:
        if not _itk_header.is_placed(family, fields):
            raise InputError("no-geometry", "the header does not say how the axes lie in the patient")
        facts.update(_volume.upright(size, _affine(reader)))
    elif len(size) == 2:
        facts["spacing"] = [float(reader.GetSpacing()[1]), float(reader.GetSpacing()[0])]
        facts["mm_known"] = "elementspacing" in fields or "space directions" in fields or "spacings" in fields
    return facts


def _affine(reader: Any) -> Matrix:
    """Index (i, j, k) to RAS mm."""
    dimension = reader.GetDimension()
    affine = np.eye(4)
    directions = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = directions * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    return LPS_TO_RAS @ affine


def _series(header: Header) -> SeriesRecord:
    facts = header.facts
    shape = " x ".join(str(count) for count in facts["size"])
    description, files = f"{facts['family']} {shape}", (header.path, *filter(None, [facts["data_file"]]))
    reason = None
    if facts["labels"]:
        reason = Reason("segmentation", "its header describes segments")
    elif facts["components"] != 1:
        reason = Reason("photometric", f"{facts['components']} values per cell")
    elif len(facts["size"]) not in (2, 3):
        reason = Reason("mixed-times", f"{shape} values, not a volume")
    if reason is not None:
        status: Any = "skipped" if reason.code == "segmentation" else "refused"
        return SeriesRecord(status, description, files, facts["modality"], reason=reason)
    volume = len(facts["size"]) == 3
    flat = tuple(reversed(facts["size"]))
    series = Series(
        reader=Itk.name,
        kind="volume" if volume else "image",
        modality=facts["modality"],
        files=(SourceFile(header.path, header.size_bytes, header.mtime_ns),),
        frames=_volume.frames(facts) if volume else ((0, 0),),
        grid=_volume.grid(facts) if volume else Grid.plane(flat, tuple(facts["spacing"]), mm_known=facts["mm_known"]),
        colour=False,
        facts={"Modality": facts["modality"]} if facts["modality"] else {},
        identifiers=Identifiers(),
    )
    return SeriesRecord("used", description, files, facts["modality"], series.facts, series=series)
