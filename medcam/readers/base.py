"""The contract of a reader: one family of formats, headers first, pixels later, both in the decoding subprocess."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from medcam.record import Arrays, Record
from medcam.study import Pixels, Series, SeriesRecord


@dataclass(frozen=True)
class Header(Record):
    """What one file says about itself, without its pixels: plain JSON values only, so that it can be cached."""

    path: str
    size_bytes: int
    mtime_ns: int
    reader: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self, arrays: Arrays | None = None, prefix: str = "") -> dict[str, Any]:
        """As it stands, for there is nothing in it that JSON does not know: of very many files that saves time."""
        return dict(vars(self))


class Reader(ABC):
    """One family of formats. Instances hold no state."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File name endings, lower case, tried where the first bytes do not tell."""

    @abstractmethod
    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the first 1,024 bytes and the name are of this family."""

    @abstractmethod
    def header(self, path: Path) -> Header:
        """The file's own account of itself; runs in the subprocess.

        Raises:
            InputError: the file is damaged or hostile.
        """

    @abstractmethod
    def series(self, headers: Sequence[Header]) -> list[SeriesRecord]:
        """Headers of this reader, of a whole folder, grouped, sorted and checked; pure, no file is opened."""

    @abstractmethod
    def pixels(self, series: Series) -> Pixels:
        """The values of a series; runs in the subprocess.

        Raises:
            InputError: the pixels cannot be decoded.
        """
