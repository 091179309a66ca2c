"""All figures of one label: how it ranks, what its threshold gives, and what so many patients can show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Measure, Values
from medcam.evaluation.classification import Ranked, counts, wilson
from medcam.evaluation.delong import area
from medcam.evaluation.sample_size import statement
from medcam.record import Record

RATIOS = (
    "sensitivity",
    "specificity",
    "precision",
    "negative_predictive_value",
    "f1",
    "mcc",
    "balanced_accuracy",
    "accuracy",
)
"""Properties of `Counts`."""


@dataclass(frozen=True)
class Performance(Record):
    """One label on a set of cases; intervals are 95 %."""

    label: str
    cases: int
    patients: int
    positives: int
    """Cases."""
    positive_patients: int
    """With at least one positive case."""
    negative_patients: int
    """Without one."""
    prevalence: float | None
    """Of positive cases: precision and negative predictive value hold for this one only."""
    auroc: Estimate
    auroc_delong: Estimate
    average_precision: Estimate
    threshold: float
    threshold_origin: str
    tp: int
    fp: int
    tn: int
    fn: int
    at_threshold: Mapping[str, Estimate]
    """`RATIOS` by name, by patient bootstrap."""
    sensitivity_wilson: Estimate
    specificity_wilson: Estimate
    statements: tuple[str, ...]
    """What these numbers can and cannot show."""


def performance(
    label: str,
    targets: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    threshold: float,
    threshold_origin: str = "",
    *,
    flagged: npt.NDArray[np.bool_] | None = None,
    bootstrap: Bootstrap | None = None,
) -> Performance:
    """The figures of one label. With one class only, what can be said is said and the rest is None.

    Args:
        label: its name.
        targets: (N,) 0 or 1.
        scores: (N,) in the scale of the threshold.
        patients: (N,) whom each case shows.
        threshold: cases at or above it are flagged; chosen on other patients, as `threshold_origin` says.
        flagged: (N,) decisions, where they are not made by the threshold.
        bootstrap: the draws, if they are shared with other figures; by default 2000.
    """
    sick, values = np.asarray(targets).astype(bool), np.asarray(scores, np.float64)
    yes = values >= threshold if flagged is None else np.asarray(flagged).astype(bool)
    draws = bootstrap or Bootstrap(patients)
    ranked, now = Ranked(sick, values), counts(sick, yes)
    measures: dict[str, Measure] = {"auroc": ranked.auroc, "average_precision": ranked.average_precision}
    found = draws.estimates(measures | {name: ratio(name, sick, yes) for name in RATIOS})
    with_sick = {patient for patient, is_sick in zip(patients, sick, strict=True) if is_sick}
    with_healthy = {patient for patient, is_sick in zip(patients, sick, strict=True) if not is_sick}
    people = len(set(patients))
    return Performance(
        label=label,
        cases=len(sick),
        patients=people,
        positives=int(sick.sum()),
        positive_patients=len(with_sick),
        negative_patients=people - len(with_sick),
        prevalence=float(sick.mean()) if len(sick) else None,
        auroc=found["auroc"],
        auroc_delong=area(sick, values, patients),
        average_precision=found["average_precision"],
        threshold=float(threshold),
        threshold_origin=threshold_origin,
        **{name: int(getattr(now, name)) for name in ("tp", "fp", "tn", "fn")},
        at_threshold={name: found[name] for name in RATIOS},
        sensitivity_wilson=proportion(int(now.tp), int(sick.sum()), len(with_sick)),
        specificity_wilson=proportion(int(now.tn), int((~sick).sum()), len(with_healthy)),
        statements=(
            statement("sensitivity", f"with {label}", len(with_sick)),
            statement("specificity", f"without {label}", people - len(with_sick)),
            *_perfect(found["auroc"]),
        ),
    )


def ratio(name: str, sick: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_]) -> Measure:
    """A property of `Counts` as a measure of weights."""

    def measured(weights: Values) -> Values:
        value: Values = getattr(counts(sick, flagged, weights), name)
        return value

    return measured


def proportion(hits: int, cases: int, patients: int) -> Estimate:
    """A share with Wilson's interval for the number of patients: several cases of one patient count as one."""
    if not cases:
        return Estimate(None, method="Wilson")
    low, high = wilson(hits, cases) if patients == cases else wilson(hits / cases * patients, patients)
    return Estimate(hits / cases, low, high, "Wilson" if patients == cases else "Wilson by number of patients")


def difference(first: Estimate, second: Estimate) -> Estimate:
    """First less second of two proportions of different cases, with the interval that theirs imply (Newcombe, 1998)."""
    ends = (first.value, first.low, first.high), (second.value, second.low, second.high)
    (p, low, high), (q, below, above) = ends
    if p is None or q is None or low is None or high is None or below is None or above is None:
        return Estimate(None, method="Newcombe")
    down, up = np.hypot(p - low, above - q), np.hypot(high - p, q - below)
    return Estimate(p - q, float(p - q - down), float(p - q + up), "Newcombe")


def _perfect(auroc: Estimate) -> tuple[str, ...]:
    if auroc.value in (0.0, 1.0):
        return ("The classes are told apart without an error here, so no interval of the AUROC shows its doubt.",)
    return ()
