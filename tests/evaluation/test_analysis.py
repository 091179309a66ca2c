"""From scored cases to figures and a page, without a model."""

import re

import numpy as np
import pytest
from scipy.special import logit

from medcam.evaluation import analysis, figures
from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.bootstrap import Bootstrap, Estimate
from medcam.evaluation.decisions import Decisions
from medcam.evaluation.table import Scored
from medcam.reliability.calibration import Calibration


def two_labels(patients=80) -> Scored:
    rng = np.random.default_rng(0)
    targets = np.stack([np.arange(2 * patients) % 2, np.arange(2 * patients) // 2 % 2], axis=1)
    logits = 2 * targets - 1 + rng.normal(0, 1, (2 * patients, 2))
    names = [f"p{n // 2}" for n in range(2 * patients)]
    sex = ["F" if n % 8 < 4 else "M" for n in range(2 * patients)]
    return Scored.of(logits, targets, names, ["a", "b $x^$"], "sigmoid", columns={"sex": sex})


PLAIN = Decisions((0.5, 0.3), ("by hand", "by another hand"), "score", None)


def test_each_label_has_its_own_threshold_and_patients_count_by_their_highest() -> None:
    cases = two_labels()
    first, second = analysis.label_results(cases, cases, PLAIN, Bootstrap(cases.patients, draws=200))
    assert first.performance.tp == ((cases.probabilities[:, 0] >= 0.5) & (cases.targets[:, 0] == 1)).sum()
    assert second.performance.tp == ((cases.probabilities[:, 1] >= 0.3) & (cases.targets[:, 1] == 1)).sum()
    assert second.performance.threshold_origin == "by another hand"
    assert first.by_patient.cases == 80
    assert first.by_patient.positives == 80  # one of two exams of everybody
    assert second.by_patient.positives == 40
    highest = cases.probabilities[:, 1].reshape(80, 2).max(axis=1)
    assert second.by_patient.tp == ((highest >= 0.3) & (cases.targets[::2, 1] == 1)).sum()
    assert first.by_image is None
    assert [row.group for row in first.subgroups] == ["F", "M"]


def test_images_have_figures_of_their_own() -> None:
    images = two_labels()
    cases = aggregate(images, by="patient")
    first, _ = analysis.label_results(cases, images, PLAIN, Bootstrap(cases.patients, draws=200))
    assert (first.performance.cases, first.by_image.cases) == (80, 160)
    assert first.by_patient is None
    assert first.by_image.patients == 80


def test_doubt_is_the_distance_from_each_threshold_and_right_is_agreeing_with_the_truth() -> None:
    cases = two_labels()
    right = analysis.correct(cases, PLAIN)
    assert np.array_equal(right[:, 1], (cases.probabilities[:, 1] >= 0.3) == (cases.targets[:, 1] == 1))
    one, two = analysis.doubts(cases, PLAIN, Bootstrap(cases.patients, draws=200))
    assert (one.what, two.what) == ("a", "b $x^$")
    assert one.errors == (~right[:, 0]).sum()
    assert one.correlation.low > 0  # far from the threshold is more often right
    assert one.referring[-1].risk < one.referring[0].risk


def test_classes_that_exclude_each_other_are_decided_one_by_one_as_screening_does() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    cases = Scored.of(np.log(p), np.eye(3)[[0, 1, 2]], ["x", "y", "z"], "abc", "softmax")
    decide = Decisions((0.45, 0.3, 0.6), ("",) * 3, "score", None)
    assert decide.flagged(cases).tolist() == [[True, True, False], [False, False, True], [False, True, False]]
    assert analysis.correct(cases, decide).tolist() == [[True, False, True], [True, False, False], [True, False, False]]
    first, _, third = analysis.doubts(cases, decide, Bootstrap(cases.patients, draws=200))
    assert (first.what, first.errors, third.errors) == ("a", 0, 2)
    odds = [abs(logit(p) - logit(0.6)) for p in (0.2, 0.7, 0.25)]
    assert third.confidence_right == pytest.approx(odds[0])
    assert third.confidence_wrong == pytest.approx((odds[1] + odds[2]) / 2)


def test_calibration_changes_probabilities_not_logits() -> None:
    cases = two_labels()
    learned = Calibration("sigmoid", (2.0, 1.0), (0.0, -1.0), (0.5, 0.5), 10, 10)
    known = Decisions((0.5, 0.3), ("", ""), "calibrated probability", learned).apply(cases)
    assert np.allclose(known.probabilities[:, 0], 1 / (1 + np.exp(-2 * cases.logits[:, 0])))
    assert np.allclose(known.probabilities[:, 1], 1 / (1 + np.exp(1 - cases.logits[:, 1])))
    assert np.array_equal(known.logits, cases.logits)


def test_other_cases_cannot_be_compared() -> None:
    cases = two_labels()
    bootstrap = Bootstrap(cases.patients, draws=200)
    with pytest.raises(ValueError, match="same cases"):
        analysis.comparisons(cases, cases.subset(np.arange(160)[::-1]), (PLAIN, PLAIN), bootstrap)
    same = analysis.comparisons(cases, cases, (PLAIN, PLAIN), bootstrap)
    assert [one.p for one in same] == [1, 1]
    assert [one.correct.p for one in same] == [1, 1]


def test_figures_are_drawn_from_records_alone_and_always_alike() -> None:
    cases = two_labels()
    bootstrap = Bootstrap(cases.patients, draws=200)
    _, second = analysis.label_results(cases, cases, PLAIN, bootstrap)  # its name has dollars and a caret
    again = type(second).from_dict(second.to_dict())
    for draw in (lambda r: figures.roc(r.roc, r.performance), lambda r: figures.forest(r.subgroups, r.performance)):
        svg = draw(second)
        assert draw(again) == svg
        assert not re.search(rb"""(?:href|src)=["'](?!#)""", svg)
        assert b"<image" not in svg


def test_figures_in_words() -> None:
    assert figures.number(Estimate(0.8123, 0.7, 0.9)) == "0.81 (0.70 to 0.90)"
    assert figures.number(Estimate(1.0)) == "1.00 (no interval)"
    assert figures.number(Estimate(None)) == "not defined"
