"""Which older cases no longer show what their source holds: it was looked at again and is refused, or is another."""

from collections.abc import Iterator, Mapping, Sequence

from medcam.pipeline import Pipeline
from medcam.results import Results
from medcam.selection import Declination, Task
from medcam.study import Intake, Reason


def outdated(
    results: Results,
    intake: Intake,
    pipelines: Mapping[str, Pipeline],
    tasks: Sequence[Task],
    declined: Sequence[Declination],
) -> Iterator[tuple[str, Reason]]:
    """The keys of such cases, and why.

    A case whose files lie elsewhere, or whose pipeline was not asked about files that can still be read, is left alone.

    Args:
        results: the folder that is screened into.
        intake: what the source holds now.
        pipelines: those that are asked, by name.
        tasks: what they will be asked about; whatever fails then is told by the one who asks.
        declined: what they will not be asked about.
    """
    asked = {results.case_key(task.series, task.pipeline) for task in tasks}
    unused = {file.path: file.reason or Reason("unreadable") for file in intake.files if file.status != "used"}
    passed = {
        (pipeline, path): one.reason
        for one in declined
        for pipeline in ([one.pipeline] if one.pipeline else pipelines)
        for path in one.record.files
    }
    taken = {(task.pipeline, file.path) for task in tasks for file in task.series.files}
    for row in results.rows():
        series = None if row["key"] in asked or row["outcome"] == "outdated" else results.series(row["key"])
        for file in series.files if series is not None else ():
            here = row["pipeline"], file.path
            reason = unused.get(file.path) or passed.get(here)
            if reason is None and here in taken:
                reason = Reason("source-replaced")
            if reason is not None:
                yield row["key"], reason
                break
