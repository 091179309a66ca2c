"""Which series each pipeline scores, and why every other one is left out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medcam.findings import LeftOut
from medcam.pipeline import Declined, Pipeline
from medcam.study import Intake, Reason, Series, SeriesRecord

MOST_LEFT_OUT = 50
"""Series named in one case as left out; an archive can put thousands into one study."""


@dataclass(frozen=True)
class Task:
    """One pipeline about one series."""

    pipeline: str
    series: Series
    selection: str
    """Why this series was taken."""
    left_out: tuple[LeftOut, ...]
    """The other series of the study, and why they were not."""


@dataclass(frozen=True)
class Declination:
    """A series that is not scored: by no pipeline if `pipeline` is empty."""

    record: SeriesRecord
    pipeline: str
    status: Declined
    reason: Reason


def study_of(record: SeriesRecord) -> tuple[str, str]:
    """What series of one study share, also for those that cannot be loaded."""
    if record.series is not None:
        return record.series.study
    ids = record.identifiers
    return (ids.study_uid, "") if ids.study_uid else (ids.patient_id, record.files[0] if record.files else "")


def select(
    intake: Intake, pipelines: Mapping[str, Pipeline], assume_anatomy: str | None = None
) -> tuple[list[Task], list[Declination]]:
    """Every used series goes to each pipeline that accepts it; every other series gets one reason per study.

    Args:
        intake: what the folder holds.
        pipelines: by name.
        assume_anatomy: what the caller vouches for where the tags are silent.
    """
    declined: list[Declination] = []
    studies: dict[tuple[str, str], list[SeriesRecord]] = defaultdict(list)
    accepted: dict[tuple[str, tuple[str, str]], list[SeriesRecord]] = defaultdict(list)
    for record in intake.series:
        studies[study_of(record)].append(record)
        if record.series is None:
            status: Declined = "refused" if record.status == "refused" else "skipped"
            declined.append(Declination(record, "", status, record.reason or Reason("empty")))
            continue
        alone = len(pipelines) == 1
        verdicts = {
            name: pipeline.accepts.judge(record.series, assume_anatomy, alone=alone)
            for name, pipeline in pipelines.items()
        }
        for name, verdict in verdicts.items():
            if verdict is None:
                accepted[name, study_of(record)].append(record)
        if all(verdict is not None for verdict in verdicts.values()):
            status, reason = _most_telling([verdict for verdict in verdicts.values() if verdict is not None])
            declined.append(Declination(record, "", status, reason))
    chosen: list[tuple[str, SeriesRecord, str]] = []
    for (name, _), records in accepted.items():
        taken, passed, why = _preferred(records, pipelines[name].accepts.prefer)
        chosen += [(name, record, f"{why}; {_stated(record, assume_anatomy)}") for record in taken]
        declined += [Declination(record, name, "skipped", Reason("not-preferred", why)) for record in passed]
    reasons: dict[int, list[tuple[str, Reason]]] = defaultdict(list)
    for one in declined:
        reasons[id(one.record)].append((one.pipeline, one.reason))
    tasks = []
    for name, record, selection in chosen:
        assert record.series is not None
        left_out = _left_out(record, studies[study_of(record)], reasons, name)
        tasks.append(Task(name, record.series, selection, left_out))
    return tasks, declined


def _most_telling(verdicts: Sequence[tuple[Declined, Reason]]) -> tuple[Declined, Reason]:
    """A refusal before an exclusion, and any other reason before "another modality"."""
    order = sorted(verdicts, key=lambda one: (one[0] != "refused", one[1].code == "other-modality"))
    if all(reason.code == "other-modality" for _, reason in verdicts):
        return "skipped", Reason("other-modality", verdicts[0][1].detail.split(",")[0])
    return order[0]


def _preferred(records: list[SeriesRecord], prefer: str) -> tuple[list[SeriesRecord], list[SeriesRecord], str]:
    if prefer == "every" or len(records) == 1:
        return records, [], "the only series that fits" if len(records) == 1 else "every series that fits is scored"

    def rank(record: SeriesRecord) -> tuple[int, float, str]:
        assert record.series is not None
        series = record.series
        return -len(series.frames), series.grid.spacing[0], series.identifiers.series_uid

    best, *others = sorted(records, key=rank)
    return [best], others, f"{-rank(best)[0]} slices, the most of {len(records)} series that fit"


def _stated(record: SeriesRecord, assumed: str | None) -> str:
    """The tags that established the anatomy, in words."""
    named = [f"{key} {record.facts[key]}" for key in ("BodyPartExamined", "ViewPosition") if record.facts.get(key)]
    if assumed and not record.facts.get("BodyPartExamined"):
        named.append(f"anatomy assumed by the operator: {assumed}")
    return ", ".join(named)


def _left_out(
    record: SeriesRecord, study: list[SeriesRecord], reasons: Mapping[int, list[tuple[str, Reason]]], pipeline: str
) -> tuple[LeftOut, ...]:
    others = []
    for other in study:
        for name, reason in reasons.get(id(other), []):
            if other is not record and name in ("", pipeline):
                others.append(LeftOut(other.description, reason))
    return tuple(others[:MOST_LEFT_OUT])
