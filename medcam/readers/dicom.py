"""DICOM: slices to volumes, enhanced objects, radiographs, ultrasound cines, visible light, slides by their levels."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from medcam.readers._dicom_file import looks_like_dicom
from medcam.readers._dicom_header import header_facts
from medcam.readers._dicom_pixels import load
from medcam.readers._dicom_series import series_records
from medcam.readers.base import Header, Reader
from medcam.study import Pixels, Series, SeriesRecord


class Dicom(Reader):
    """Files of DICOM part 10, and data sets without its preamble that begin like one."""

    name: ClassVar[str] = "dicom"
    suffixes: ClassVar[tuple[str, ...]] = (".dcm", ".dicom", ".ima")

    def recognises(self, path: Path, head: bytes) -> bool:
        return looks_like_dicom(head) or path.suffix.lower() in self.suffixes

    def header(self, path: Path) -> Header:
        facts = header_facts(path)
        status = path.stat()
        return Header(str(path), status.st_size, status.st_mtime_ns, self.name, facts)

    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        return series_records(headers)

    def pixels(self, series: Series) -> Pixels:
        return load(series)
