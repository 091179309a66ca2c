"""The worklist: cases in the order in which a person should look at them, with what was said about each so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medcam.findings import Agreement, Verdict
from medcam.record import Record
from medcam.results import Results
from medcam.review.verdicts import all_verdicts

Status = Literal["unreviewed", "reviewed", "disagreement"]


@dataclass(frozen=True)
class Row(Record):
    """One case of the worklist."""

    key: str
    pipeline: str
    finding: str
    modality: str
    decision: str
    """The words to show: a demonstration model decides nothing."""
    outcome: str
    """Of the decision; "outdated" where the source gave no result when it was screened again."""
    score: float
    threshold: float
    score_sd: float | None
    place: str
    said: tuple[tuple[str, Agreement], ...]
    """Each reader's latest verdict on this model's result, in the order of their first one."""

    @property
    def status(self) -> Status:
        """Unreviewed until one reader has judged it; disagreement where readers' latest verdicts differ."""
        opinions = {agreement for _, agreement in self.said}
        return "unreviewed" if not opinions else "reviewed" if len(opinions) == 1 else "disagreement"

    def read_by(self, reader: str) -> bool:
        """Whether this reader has judged it."""
        return any(name == reader for name, _ in self.said)


def worklist(results: Results) -> list[Row]:
    """All cases, most pressing first.

    Verdicts count where they were given on the result that is there now: a case that another model has scored since
    is unreviewed again.
    """
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in all_verdicts(results.folder):
        verdicts.setdefault((verdict.case_key, verdict.model_hash), []).append(verdict)
    rows = [
        Row(
            key=row["key"],
            pipeline=row["pipeline"],
            finding=row["finding"],
            modality=row["modality"],
            decision=row["decision"],
            outcome=row["outcome"],
            score=row["score"],
            threshold=row["threshold"],
            score_sd=row["score_sd"],
            place=row["place"],
            said=latest(verdicts.get((row["key"], row["model_hash"]), ())),
        )
        for row in results.rows()
    ]
    return sorted(rows, key=pressing)


def pressing(row: Row) -> tuple[bool, bool, float, float, str]:
    """Sort key: what is outdated last; to refer first, then by score as shown (two decimals), then by doubt, each the
    highest first.
    """
    return row.outcome == "outdated", row.outcome != "refer", -round(row.score, 2), -(row.score_sd or 0.0), row.key


def latest(verdicts: Iterable[Verdict]) -> tuple[tuple[str, Agreement], ...]:
    """Each reader's last word, in the order of their first one."""
    return tuple({verdict.reader: verdict.agreement for verdict in verdicts}.items())


def unaided(rows: Sequence[Row]) -> list[Row]:
    """The rows in an order that tells nothing about the AI's results."""
    return sorted(rows, key=lambda row: row.key)


def chosen(
    rows: Sequence[Row],
    *,
    pipelines: Sequence[str] = (),
    decisions: Sequence[str] = (),
    statuses: Sequence[str] = (),
    readers: Sequence[str] = (),
    unread_by: str = "",
) -> list[Row]:
    """The rows that pass every filter, in their order; an empty filter lets everything pass.

    Args:
        readers: keep cases that one of these readers has judged.
        unread_by: keep cases that this reader has not judged.
    """
    return [
        row
        for row in rows
        if (not pipelines or row.pipeline in pipelines)
        and (not decisions or row.decision in decisions)
        and (not statuses or row.status in statuses)
        and (not readers or any(row.read_by(reader) for reader in readers))
        and not (unread_by and row.read_by(unread_by))
    ]


def next_unread(rows: Sequence[Row], after: str = "", reader: str = "") -> Row | None:
    """The next case in the order of `rows` that nobody, or not this `reader`, has judged; from the top at the end."""
    keys = [row.key for row in rows]
    start = keys.index(after) + 1 if after in keys else 0
    for row in [*rows[start:], *rows[:start]]:
        if row.key != after and not (row.read_by(reader) if reader else row.said):
            return row
    return None
