"""The contract of a report: what it is given about one case, and where it writes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from medcam.findings import Case, Verdict
from medcam.results import Results
from medcam.study import Identifiers, Series

DISCLAIMER = "Research use only - not for diagnostic use"
"""Stands on every page, picture and object that leaves medcam."""


@dataclass(frozen=True)
class Context:
    """What surrounds one case while it is reported."""

    results: Results
    created: str
    """When the reports are written: UTC, ISO 8601."""
    verdicts: tuple[Verdict, ...] = ()
    """All verdicts on the case, oldest first."""
    identifiers: Identifiers | None = None
    """None unless they were asked for: a report that never sees them cannot leak them."""
    source: Series | None = None
    """The source with its UIDs and paths; None like `identifiers`."""
    written: dict[str, list[Path]] = field(default_factory=dict)
    """Files already written for this case, by report: where a report finds what it `needs`."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What one report made of this case and another can use again."""


@dataclass(frozen=True)
class Entry:
    """One reported case, as an overview over all cases shows it: small, because there may be very many."""

    row: dict[str, Any]
    """`findings.summary` of the case."""
    patient_key: str
    score_name: str
    reviewed: str
    """What readers said, in a few words."""
    identifiers: Identifiers | None
    files: dict[str, list[Path]]


class Report(ABC):
    """One kind of output. Instances hold no state."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Of its files, with the dot."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Reports that must be written before, because this one refers to them."""

    @abstractmethod
    def write(self, case: Case, context: Context, folder: Path) -> list[Path]:
        """Write one case into its own folder and say which files were written.

        Raises:
            ResultsError: something that the report needs is no longer there.
        """

    def finish(self, entries: Sequence[Entry], refusals: Sequence[dict[str, str]], folder: Path) -> list[Path]:
        """Write what spans all cases; by default nothing."""
        return []
