"""The words about what humans said: latest verdict of each reader, disagreement, and verdicts on another model."""

from collections.abc import Sequence
from datetime import UTC, datetime

from medcam.findings import Case, Verdict
from medcam.reports._blocks import Block, Table, Words

UNREVIEWED = "Unreviewed: AI output, not verified by a human."
MEANING = {"accept": "accepts", "reject": "rejects", "unsure": "is unsure about"}


def latest(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The last verdict of each reader, readers in the order of their first; `verdicts` come oldest first."""
    last = {verdict.reader: verdict for verdict in verdicts}
    return list(last.values())


def status(verdicts: Sequence[Verdict]) -> str:
    """One sentence for the head of a report."""
    current = latest(verdicts)
    if not current:
        return UNREVIEWED
    if len({verdict.agreement for verdict in current}) > 1:
        return f"Reviewed by {len(current)} readers, who disagree."
    words = " and ".join(f"{verdict.reader} on {moment(verdict.time)}" for verdict in current)
    return f"Reviewed by {words}: {current[0].agreement}."


def brief(verdicts: Sequence[Verdict]) -> str:
    """A few words for a table."""
    said = [f"{verdict.agreement} ({verdict.reader})" for verdict in latest(verdicts)]
    if len({verdict.agreement for verdict in latest(verdicts)}) > 1:
        said.insert(0, "readers disagree")
    return ", ".join(said) or "unreviewed"


def blocks(case: Case, verdicts: Sequence[Verdict]) -> tuple[Block, ...]:
    """Every reader's latest verdict in full; the impression is theirs to write."""
    impression = "The software writes no impression; it belongs to the reader."
    current = latest(verdicts)
    if not current:
        return (Words((UNREVIEWED, impression)),)
    warnings = []
    if len({verdict.agreement for verdict in current}) > 1:
        said = "; ".join(f"{verdict.reader} {MEANING[verdict.agreement]} the AI finding" for verdict in current)
        warnings.append(f"Readers disagree: {said}.")
    warnings += [
        f"{verdict.reader} judged another model (version {verdict.model_version or 'not known'}) than the one reported."
        for verdict in current
        if verdict.model_hash != case.provenance.model_hash
    ]
    table = Table(
        ("Reader", "Verdict", "Reason", "Comment", "Before the AI was shown", "Time", "Model version"),
        tuple(
            (
                verdict.reader,
                verdict.agreement,
                verdict.reason or "none given",
                verdict.comment or "none",
                verdict.first_read or "not asked",
                moment(verdict.time),
                verdict.model_version,
            )
            for verdict in current
        ),
    )
    earlier = len(verdicts) - len(current)
    note = (f"{earlier} earlier verdict{'s' if earlier > 1 else ''} of the same readers stand in the log.",)
    found: list[Block] = [Words(tuple(warnings), "warning")] if warnings else []
    return (*found, table, Words((*(note if earlier else ()), impression)))


def moment(time: str) -> str:
    """An ISO 8601 time for people, in UTC."""
    try:
        return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return time or "time not known"
