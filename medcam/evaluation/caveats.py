"""What a reader must know before the figures: one sentence each, most important first."""

from collections import Counter
from collections.abc import Sequence

from medcam.evaluation.cohort import Cohort
from medcam.evaluation.outcome import LabelResult, LeftOutRow, Model
from medcam.evaluation.performance import Performance

FEW_PATIENTS = 50
TELLING = 0.55
"""A shortcut is told of if the lower end of its AUROC is above this."""


def caveats(
    model: Model,
    cohort: Cohort,
    left_out: Sequence[LeftOutRow],
    results: Sequence[LabelResult],
    calibrated: bool,
    level: str,
) -> list[str]:
    """The sentences.

    Args:
        model, cohort, left_out: what was evaluated on what.
        results: of each label.
        calibrated: whether the score is a calibrated probability.
        level: what a case is.
    """
    first = results[0].performance
    said = ["Research use only, not for diagnostic use. These figures hold for patients like those counted here."]
    if model.demonstration:
        said.append(
            "This is a demonstration model: it shows how the software works and decides nothing about a patient."
        )
    said.append(_size(first, level))
    said += _learned(cohort)
    said += _one_class(results)
    if left_out:
        codes = ", ".join(f"{code} {count}" for code, count in Counter(one.code for one in left_out).most_common())
        fate = "row was left out and counts" if len(left_out) == 1 else "rows were left out and count"
        said.append(f"{len(left_out)} {fate} nowhere ({codes}).")
    for result in results:
        telling = sorted((one for one in result.shortcuts if one.interval[0] > TELLING), key=lambda one: -one.auroc)
        if telling:
            said.append(f"Without looking at the picture, {telling[0]}: the model may have learned that instead.")
    worse = [
        f"{row.label} in {row.attribute} {row.group}" for result in results for row in result.subgroups if row.differs
    ]
    if worse:
        count = sum(len(row.differences) for result in results for row in result.subgroups)
        chance = f"of {count} such intervals about {max(1, round(0.05 * count))} would miss zero by chance"
        said.append(f"Figures differ from those of the other patients for {', '.join(worse[:6])} ({chance}).")
    if not calibrated:
        said.append("The score is not calibrated: it is no probability, and the calibration plot says how far from it.")
    return said


def prevalence(performance: Performance) -> str:
    """What the share of sick cases means for two of the figures."""
    if performance.prevalence is None:
        return ""
    return (
        f"Precision and negative predictive value hold where {100 * performance.prevalence:.0f} % of the cases have "
        "the finding, as here; in screening fewer have it, and precision is lower."
    )


def _size(first: Performance, level: str) -> str:
    of = "" if level == "patient" else f" with {first.cases} {level}s"
    text = f"{first.patients} patients{of}; intervals are 95 %, drawn by patient."
    if first.patients < FEW_PATIENTS:
        text += f" Fewer than {FEW_PATIENTS} patients: read the intervals, not the figures."
    return text


def _learned(cohort: Cohort) -> list[str]:
    if not cohort.split:
        return [
            "The bundle does not say on whom it was trained: nobody can tell whether patients of this table were among "
            "them, which would make every figure too good."
        ]
    if not cohort.known_patients:
        return ["None of the patients is one that the model learned from, by their ids."]
    sides = ", ".join(f"{side} {count}" for side, count in cohort.known_patients.items())
    was = "patient was" if cohort.left_out == 1 else "patients were"
    return [f"{cohort.left_out} of {cohort.patients} {was} left out because the model learned from them ({sides})."]


def _one_class(results: Sequence[LabelResult]) -> list[str]:
    said = []
    for result in results:
        found = result.performance
        if found.positives == 0:
            said.append(f"No case has {found.label}: only its specificity can be counted.")
        elif found.positives == found.cases:
            said.append(f"Every case has {found.label}: only its sensitivity can be counted.")
    return said
