"""Who is referred, why, and how good the rest is: counted by hand."""

import numpy as np
import pytest

from medcam.evaluation.classification import wilson
from medcam.evaluation.referral import Referral, referrals
from medcam.evaluation.screened import Series
from medcam.findings import ConformalSet, Judged, Prediction, Uncertainty, decide
from medcam.reliability.selective import risk_coverage

BOTH, ONLY_NO = ("no a", "a"), ("no a",)
FAR = Judged(2, 0.1, 9.1, 7.0, 0.3, None, True, False, ())

ROWS = (
    # patient, present, score, SD, set, support      threshold 0.5
    ("p0", True, 0.90, 0.01, None, None),  # found
    ("p0", True, 0.55, 0.20, None, None),  # near
    ("p1", True, 0.40, 0.20, BOTH, None),  # near and both: the threshold alone would miss it
    ("p2", True, 0.30, 0.01, None, None),  # missed
    ("p3", True, 0.80, 0.01, None, None),  # found
    ("p4", False, 0.10, 0.01, None, None),  # rightly not flagged
    ("p5", False, 0.20, 0.01, None, FAR),  # unlike
    ("p5", False, 0.70, 0.01, None, FAR),  # unlike: the threshold alone would flag it
    ("p6", False, 0.60, 0.01, None, None),  # false alarm
    ("p7", False, 0.85, 0.01, ONLY_NO, None),  # the set says no: the threshold alone would flag it
)


def series(rows=ROWS, label="a") -> list[Series]:
    made = []
    for n, (patient, present, score, sd, members, support) in enumerate(rows):
        held = None if members is None else ConformalSet(members, "a", 0.1, 40)
        prediction = Prediction("a", score, 0.0, 0.5, "by hand", conformal_set=held, support=support)
        doubt = Uncertainty("augmentation", {}, sd)
        made.append(Series(n, f"{n}.png", patient, label, present, prediction, doubt, decide(prediction, doubt, False)))
    return made


def test_ten_series_counted_by_hand() -> None:
    (found,) = referrals(series(), "augmentation", draws=400)
    assert found.with_finding == {"flagged": 2, "not flagged": 1, "refer": 2}
    assert found.without_finding == {"flagged": 1, "not flagged": 1, "refer": 3}
    assert found.referred.value == pytest.approx(0.5)
    assert found.reasons == {
        "near the threshold": 2, "unlike anything trained on": 2, "set of several answers": 1,
        "set against the threshold": 1,
    }  # fmt: skip
    assert found.alone == {"near the threshold": 1, "unlike anything trained on": 2, "set against the threshold": 1}
    assert found.errors_referred == 3
    every, rest = found.everybody, found.decided
    assert (every.series, every.patients, rest.series, rest.patients) == (10, 8, 5, 5)
    assert every.sensitivity.value == pytest.approx(3 / 5)
    assert every.specificity.value == pytest.approx(2 / 5)
    assert rest.sensitivity.value == pytest.approx(2 / 3)
    assert rest.specificity.value == pytest.approx(1 / 2)
    assert (rest.sensitivity_wilson.low, rest.sensitivity_wilson.high) == pytest.approx(wilson(2, 3))
    assert every.error.value == pytest.approx(5 / 10)
    assert rest.error.value == pytest.approx(2 / 5)
    assert rest.error.low < rest.error.value < rest.error.high
    assert Referral.from_dict(found.to_dict()) == found


def test_an_interval_is_that_of_drawn_patients_with_all_their_series() -> None:
    """By drawing patients one by one, slowly, and counting again."""
    rows = series(ROWS * 3 + tuple((f"{row[0]}x", *row[1:]) for row in ROWS))
    (found,) = referrals(rows, "augmentation", draws=3000)
    people, rng, drawn = sorted({one.patient for one in rows}), np.random.default_rng(5), []
    for _ in range(3000):
        chosen = [one for who in rng.choice(people, len(people)) for one in rows if one.patient == who]
        kept = [one for one in chosen if one.present and one.decision.outcome != "refer"]
        if kept:
            drawn.append(np.mean([one.above for one in kept]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    told = found.decided.sensitivity
    assert (told.low, told.high) == pytest.approx((low, high), abs=0.04)


def test_screening_is_a_point_of_risk_over_coverage_and_without_doubt_the_end_of_its_curve() -> None:
    rows = series()
    (found,) = referrals(rows, "augmentation", draws=200)
    kept = [one.decision.outcome != "refer" for one in rows]
    curve = risk_coverage(kept, [one.above == one.present for one in rows])
    assert (curve.coverage[0], curve.risk[0]) == (found.coverage, found.decided.error.value)
    assert found.by_distance.coverage == pytest.approx(0.5)
    # surest by distance alone: 0.90, 0.10, 0.85 (wrong), 0.80, 0.20 and, as far, 0.20 is below 0.70 and 0.30
    assert found.by_distance.risk == pytest.approx(1 / 5)
    sure = [(p, y, s, 0.0, None, None) for p, y, s, *_ in ROWS]
    (nobody,) = referrals(series(sure), "none", draws=200)
    assert nobody.coverage == 1
    assert nobody.decided == nobody.everybody
    assert nobody.decided.error.value == pytest.approx(nobody.ranking.referring[0].risk) == pytest.approx(0.5)


def test_where_all_are_referred_nothing_is_claimed() -> None:
    (found,) = referrals(series([(p, y, s, 0.9, None, None) for p, y, s, *_ in ROWS]), "augmentation", draws=200)
    assert found.referred.value == 1
    assert found.coverage == 0
    assert found.by_distance is None
    assert found.decided.series == 0
    assert found.decided.sensitivity.value is found.decided.error.value is None


def test_each_label_is_a_question_of_its_own() -> None:
    one, two = referrals([*series(), *series(ROWS[:5], label="b")], "augmentation", draws=200)
    assert (one.label, one.series, two.label, two.series) == ("a", 10, "b", 5)
    assert two.decided.specificity.value is None
