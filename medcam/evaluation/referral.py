"""What screening's third answer costs and gains: who is referred and why, and how good the rest is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Measure
from medcam.evaluation.doubt import Doubt, distance_from_threshold, doubt
from medcam.evaluation.performance import proportion, ratio
from medcam.evaluation.screened import Series
from medcam.record import Record
from medcam.reliability.selective import OperatingPoint, at_coverage, risk_coverage

Mask = npt.NDArray[np.bool_]

DISTANCE = "distance from threshold"


@dataclass(frozen=True)
class Decided(Record):
    """How good decisions are about some series; 95 % intervals by drawing patients, and Wilson's for their number."""

    series: int
    patients: int
    sensitivity: Estimate
    sensitivity_wilson: Estimate
    specificity: Estimate
    specificity_wilson: Estimate
    error: Estimate
    """Share of wrong decisions: the risk."""


@dataclass(frozen=True)
class Referral(Record):
    """One label over all series that screening would score."""

    label: str
    disturbance: str
    """What the spread of the score was measured by; "none" where it was not."""
    judged_by: tuple[str, ...]
    """What else of the bundle can refer."""
    series: int
    patients: int
    with_finding: Mapping[str, int]
    without_finding: Mapping[str, int]
    """Series by "flagged", "not flagged" and "refer"."""
    referred: Estimate
    """Share of series, by patient bootstrap."""
    reasons: Mapping[str, int]
    """Referred series by kind of reason; one series may have several."""
    alone: Mapping[str, int]
    """The same of those with no other reason."""
    errors_referred: int
    """Referred series that the threshold alone would have decided wrongly."""
    everybody: Decided
    """As if nobody were referred."""
    decided: Decided
    """Those who are not referred."""
    coverage: float
    """Share of series that is decided."""
    by_distance: OperatingPoint | None
    """Deciding at least as many, chosen by the score's distance from the threshold alone; None where all are
    referred."""
    ranking: Doubt
    """Risk over coverage by that distance: `coverage` and the error of `decided` are a point beside its curve."""


def referrals(rows: Sequence[Series], method: str, draws: int = 2000, seed: int = 0) -> list[Referral]:
    """The figures of each label.

    Args:
        rows: from `screened`.
        method: what doubt was measured by.
        draws, seed: of patients.
    """
    labels = dict.fromkeys(one.label for one in rows)
    return [_referral([one for one in rows if one.label == label], method, draws, seed) for label in labels]


def _referral(rows: Sequence[Series], method: str, draws: int, seed: int) -> Referral:
    patients = [one.patient for one in rows]
    bootstrap = Bootstrap(patients, draws=draws, seed=seed)
    sick, above = (np.array([getattr(one, name) for one in rows]) for name in ("present", "above"))
    kept = np.array([one.decision.outcome != "refer" for one in rows])
    right = above == sick
    scores, thresholds = (np.array([getattr(one.prediction, name) for one in rows]) for name in ("score", "threshold"))
    distance = distance_from_threshold(scores, thresholds)
    whys = [one.decision.doubts for one in rows if one.decision.outcome == "refer"]
    share = float(kept.mean())
    return Referral(
        label=rows[0].label,
        disturbance=method,
        judged_by=_judged_by(rows),
        series=len(rows),
        patients=bootstrap.patients,
        with_finding=_outcomes([one for one in rows if one.present]),
        without_finding=_outcomes([one for one in rows if not one.present]),
        referred=bootstrap.estimate(lambda weights: weights @ ~kept / weights.sum(axis=1)),
        reasons=dict(Counter(why for own in whys for why in own).most_common()),
        alone=dict(Counter(own[0] for own in whys if len(own) == 1).most_common()),
        errors_referred=int((~right & ~kept).sum()),
        everybody=_decided(sick, above, np.ones_like(kept), patients, bootstrap),
        decided=_decided(sick, above, kept, patients, bootstrap),
        coverage=share,
        by_distance=at_coverage(risk_coverage(distance, right), share) if share else None,
        ranking=doubt(DISTANCE, rows[0].label, distance, right, bootstrap),
    )


def _decided(sick: Mask, above: Mask, kept: Mask, patients: Sequence[str], bootstrap: Bootstrap) -> Decided:
    """Of the rows that are kept; the draws are of all patients, so that who is referred varies with them."""

    def of_kept(measure: Measure) -> Measure:
        return lambda weights: measure(weights * kept)

    right = ratio("accuracy", sick, above)
    found = bootstrap.estimates(
        {
            "sensitivity": of_kept(ratio("sensitivity", sick, above)),
            "specificity": of_kept(ratio("specificity", sick, above)),
            "error": of_kept(lambda weights: 1 - right(weights)),
        }
    )
    return Decided(
        series=int(kept.sum()),
        patients=_people(patients, kept),
        sensitivity_wilson=_wilson(above, kept & sick, patients),
        specificity_wilson=_wilson(~above, kept & ~sick, patients),
        **found,
    )


def _wilson(hits: Mask, among: Mask, patients: Sequence[str]) -> Estimate:
    return proportion(int((hits & among).sum()), int(among.sum()), _people(patients, among))


def _people(patients: Sequence[str], among: Mask) -> int:
    return len({patient for patient, is_in in zip(patients, among, strict=True) if is_in})


def _outcomes(rows: Sequence[Series]) -> dict[str, int]:
    counts = Counter(one.decision.outcome for one in rows)
    return {outcome: counts[outcome] for outcome in ("flagged", "not flagged", "refer")}


def _judged_by(rows: Sequence[Series]) -> tuple[str, ...]:
    first = rows[0].prediction
    sets = [] if first.conformal_set is None else [first.conformal_set.name]
    if first.support is not None:
        sets.append("support" if first.support.limit is not None else "support without a limit")
    return tuple(sets)
