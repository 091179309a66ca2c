"""Which series each pipeline scores, and why every other one is left out."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medcam.findings import LeftOut
from medcam.pipeline import Declined, Pipeline
from medcam.study import Intake, Reason, Series, SeriesRecord

MOST_LEFT_OUT = 50
"""Series named one by one in a case as left out; an archive can put thousands into one study."""

Verdict = tuple[Declined, Reason]


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
    studies: dict[tuple[str, str], list[SeriesRecord]] = defaultdict(list)
    for record in intake.series:
        studies[study_of(record)].append(record)
    tasks: list[Task] = []
    declined: list[Declination] = []
    for records in studies.values():
        for_all = {name: _judged(records, pipelines, name, assume_anatomy) for name in pipelines}
        for position, record in enumerate(records):
            verdicts = [against[position] for against in for_all.values() if position in against]
            if len(verdicts) == len(pipelines):
                declined.append(Declination(record, "", *_most_telling(verdicts)))
        for name, against in for_all.items():
            fit = [position for position in range(len(records)) if position not in against]
            taken, passed, why = _preferred(records, fit, pipelines[name].accepts.prefer)
            for position in passed:
                against[position] = ("skipped", Reason("not-preferred", why))
                declined.append(Declination(records[position], name, *against[position]))
            for position in taken:
                series = records[position].series
                assert series is not None
                selection = f"{why}; {_stated(records[position], pipelines[name], assume_anatomy)}"
                tasks.append(Task(name, series, selection, _left_out(records, against)))
    return tasks, declined


def _judged(
    records: Sequence[SeriesRecord], pipelines: Mapping[str, Pipeline], name: str, assumed: str | None
) -> dict[int, Verdict]:
    """Why a pipeline does not accept series of a study, by their positions."""
    accepts, alone = pipelines[name].accepts, len(pipelines) == 1
    against: dict[int, Verdict] = {}
    for position, record in enumerate(records):
        if record.series is None:
            status: Declined = "refused" if record.status == "refused" else "skipped"
            against[position] = (status, record.reason or Reason("empty"))
        elif (verdict := accepts.judge(record.series, assumed, alone=alone)) is not None:
            against[position] = verdict
    return against


def _most_telling(verdicts: Sequence[Verdict]) -> Verdict:
    """A refusal before an exclusion, and any other reason before "another modality"."""
    order = sorted(verdicts, key=lambda one: (one[0] != "refused", one[1].code == "other-modality"))
    if all(reason.code == "other-modality" for _, reason in verdicts):
        return "skipped", Reason("other-modality", verdicts[0][1].detail.split(",")[0])
    return order[0]


def _preferred(records: Sequence[SeriesRecord], fit: list[int], prefer: str) -> tuple[list[int], list[int], str]:
    """Which of the series that fit are taken, which are passed over, and why."""
    if prefer == "every" or len(fit) < 2:
        return fit, [], "the only series that fits" if len(fit) == 1 else "every series that fits is scored"

    def rank(position: int) -> tuple[int, float, str]:
        series = records[position].series
        assert series is not None
        return -len(series.frames), series.grid.spacing[0], series.identifiers.series_uid

    best, *others = sorted(fit, key=rank)
    slices, spacing, _ = rank(best)
    why = f"{-slices} slices, the most of {len(fit)} series that fit"
    if rank(others[0])[0] == slices:
        why = f"{-slices} slices {spacing:.3g} mm apart, the thinnest of {len(fit)} series that fit"
    return [best], others, why


def _stated(record: SeriesRecord, pipeline: Pipeline, assumed: str | None) -> str:
    """What established the question's anatomy and view, in words: tags, or the operator where they are silent."""
    wanted = {"BodyPartExamined": "anatomy"} | ({"ViewPosition": "view"} if pipeline.accepts.views else {})
    named = [f"{keyword} {record.facts[keyword]}" for keyword in wanted if record.facts.get(keyword)]
    missing = ["modality"] * (not record.modality)
    missing += [word for keyword, word in wanted.items() if not record.facts.get(keyword)]
    if missing:
        named.append(f"{' and '.join(missing)} assumed by the operator: {assumed}")
    return ", ".join(named)


def _left_out(records: Sequence[SeriesRecord], against: Mapping[int, Verdict]) -> tuple[LeftOut, ...]:
    """The series of a study that were not taken: alike ones together, and beyond the first many by reason only."""
    counts = Counter((records[position].description, reason) for position, (_, reason) in sorted(against.items()))
    named = [LeftOut(f"{n} x {what}" if n > 1 else what, reason) for (what, reason), n in counts.items()]
    beyond: Counter[str] = Counter()
    for (_, reason), n in list(counts.items())[MOST_LEFT_OUT:]:
        beyond[reason.code] += n
    rest = [LeftOut(f"{n} more series", Reason(code)) for code, n in beyond.items()]
    return (*named[:MOST_LEFT_OUT], *rest)
