"""What a report is made of: sections of rows, tables, words and the place where the figures go."""

from dataclasses import dataclass
from typing import Literal

from medcam.record import Record


@dataclass(frozen=True)
class Rows(Record):
    """Names and values, under a line of words if there is a `title`."""

    rows: tuple[tuple[str, str], ...]
    title: str = ""
    short: bool = False
    """Names and values are a word or two each: several fit beside each other."""
    kind: Literal["rows"] = "rows"


@dataclass(frozen=True)
class Table(Record):
    """A table with a head; every row is as long as the head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Words(Record):
    """Sentences, one per line."""

    lines: tuple[str, ...]
    tone: Literal["plain", "warning"] = "plain"
    kind: Literal["words"] = "words"


@dataclass(frozen=True)
class Figures(Record):
    """Where the key images stand, each with its caption."""

    captions: tuple[str, ...]
    kind: Literal["figures"] = "figures"


Block = Rows | Table | Words | Figures


@dataclass(frozen=True)
class Section(Record):
    """A headed part of the report; `name` is stable, `title` is for people."""

    name: str
    title: str
    blocks: tuple[Block, ...]
