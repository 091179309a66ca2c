"""What was found in a folder: files, series and studies, each with its place in space and the reason for its fate."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcam.errors import REASONS
from medcam.grid import Grid
from medcam.record import Record

Kind = Literal["image", "volume", "cine", "slide"]
Status = Literal["used", "skipped", "refused"]


@dataclass(frozen=True)
class Reason(Record):
    """Why something was skipped or refused: a code of `errors.REASONS` and what was seen."""

    code: str
    detail: str = ""

    def __post_init__(self) -> None:
        if self.code not in REASONS:
            raise ValueError(f"{self.code!r} is not a reason that medcam knows")

    def __str__(self) -> str:
        return f"{self.code}: {self.detail or REASONS[self.code]}"


@dataclass(frozen=True)
class Identifiers(Record):
    """What names the patient or leads back to the archive. Never logged, never in file names, off in reports."""

    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    study_uid: str = ""
    series_uid: str = ""
    birth_date: str = ""
    """This and what follows: as DICOM writes it, e.g. YYYYMMDD; a result can then be filed in the right study."""
    sex: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""


@dataclass(frozen=True)
class SourceFile(Record):
    """One file of a series, as it was when indexed."""

    path: str
    size_bytes: int
    mtime_ns: int
    sop_instance_uid: str = ""
    sop_class_uid: str = ""


@dataclass(frozen=True)
class Series(Record):
    """One image, volume, cine or slide that can be loaded, with the way back from array index to source object.

    `frames[i]` is (index into `files`, frame number from 0) of the array's index i along its first axis; for an image
    it has one entry. `facts` are header facts by DICOM keyword that do not identify anybody (BodyPartExamined,
    ViewPosition, ImageType, Manufacturer, ...), multiple values joined by a backslash.
    """

    reader: str
    kind: Kind
    modality: str
    files: tuple[SourceFile, ...]
    frames: tuple[tuple[int, int], ...]
    grid: Grid
    colour: bool
    facts: Mapping[str, str]
    identifiers: Identifiers

    @property
    def study(self) -> tuple[str, str]:
        """What series of one study share: the study UID, or the file's folder and patient where there is none."""
        ids = self.identifiers
        return (ids.study_uid, "") if ids.study_uid else (ids.patient_id, self.files[0].path)

    def source(self, index: int) -> tuple[SourceFile, int]:
        """The file and the frame number (from 0) behind array index `index` of the first axis."""
        position, frame = self.frames[index if self.kind in ("volume", "cine") else 0]
        return self.files[position], frame


@dataclass(frozen=True)
class FileRecord(Record):
    """The fate of one file; a used file's reason is None."""

    path: str
    status: Status
    reason: Reason | None = None


@dataclass(frozen=True)
class SeriesRecord(Record):
    """The fate of one series. A refused series has no loadable `series`, but its files and facts are kept."""

    status: Status
    description: str
    files: tuple[str, ...]
    modality: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    identifiers: Identifiers = field(default_factory=Identifiers)
    series: Series | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class Intake(Record):
    """Everything a folder holds: every file and every series, used, skipped or refused for a stated reason."""

    root: str
    files: tuple[FileRecord, ...]
    series: tuple[SeriesRecord, ...]

    @property
    def used(self) -> tuple[Series, ...]:
        """The series that can be loaded, in a stable order."""
        return tuple(record.series for record in self.series if record.series is not None)

    def without_identifiers(self) -> "Intake":
        """The same intake with nobody's name, numbers or UIDs; paths are kept."""
        return replace(self, series=tuple(_anonymous(record) for record in self.series))

    def counts(self) -> dict[str, dict[str, int]]:
        """How many files and series were used, skipped and refused."""
        totals: dict[str, dict[str, int]] = {}
        for name, records in (("files", self.files), ("series", self.series)):
            totals[name] = {
                status: sum(r.status == status for r in records) for status in ("used", "skipped", "refused")
            }
        return totals


def _anonymous(record: SeriesRecord) -> SeriesRecord:
    series = record.series
    if series is not None:
        files = tuple(replace(file, sop_instance_uid="") for file in series.files)
        grid = replace(series.grid, frame_of_reference=None)
        series = replace(series, files=files, grid=grid, identifiers=Identifiers())
    return replace(record, identifiers=Identifiers(), series=series)


@dataclass(frozen=True)
class Pixels(Record):
    """A loaded series: values as the source means them, before any model's transforms.

    `array` is (H, W), (D, H, W), (T, H, W) or (N, h, w) for the tiles of a slide, with a last axis of 3 when `colour`
    (RGB, uint8). Grey values are in `unit`: "HU" for CT, else "grey" (bright = dense on X-rays: MONOCHROME1 is
    inverted already). It may be a read-only memory map.
    """

    array: npt.NDArray[Any]
    grid: Grid
    colour: bool
    unit: Literal["HU", "grey", "RGB"]
    window: tuple[float, float] | None = None
    """Centre and width for display, from the header; None if it states none."""
    steps: tuple[str, ...] = ()
    """What was done to the stored values, in order."""
    origins: tuple[tuple[int, int], ...] | None = None
    """Of a slide's tiles: the (row, column) of each tile's first pixel in `grid`."""

    def __post_init__(self) -> None:
        space = self.array.shape[:-1] if self.colour else self.array.shape
        if self.origins is None and space != self.grid.shape:
            raise ValueError(f"pixels {self.array.shape} do not fill the grid {self.grid.shape}")
        if self.origins is not None and len(self.origins) != space[0]:
            raise ValueError(f"{len(self.origins)} origins for {space[0]} tiles")

    def plane(self, index: int | None = None) -> npt.NDArray[Any]:
        """The slice, frame or tile at `index`, or the image itself."""
        return np.asarray(self.array if index is None else self.array[index])
