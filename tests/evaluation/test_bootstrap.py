"""Intervals over patients: as wide as they must be, and as wide as the textbook says where that is known."""

import numpy as np
import pytest

from medcam.evaluation.bootstrap import Bootstrap, of_rows, patient_bootstrap
from medcam.evaluation.classification import Ranked, auroc


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=1)


def test_one_image_per_patient_gives_the_textbook_interval_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = patient_bootstrap(mean_of(values), [str(i) for i in range(400)])
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert (found.draws, found.discarded) == (2000, 0)


def test_images_that_resemble_each_other_widen_it_by_the_design_effect() -> None:
    # 60 patients of 20 images, intraclass correlation 1/2: the variance of a mean grows by 1 + 19 / 2 = 10.5
    rng = np.random.default_rng(2)
    patients = np.repeat(np.arange(60), 20)
    values = rng.normal(0, 1, 60)[patients] + rng.normal(0, 1, 1200)
    by_patient = patient_bootstrap(mean_of(values), patients.astype(str))
    by_image = patient_bootstrap(mean_of(values), [str(i) for i in range(1200)])
    between, within = values.reshape(60, 20).mean(axis=1).var(ddof=1), values.reshape(60, 20).var(axis=1, ddof=1).mean()
    correlation = (between - within / 20) / (between - within / 20 + within)
    effect = ((by_patient.high - by_patient.low) / (by_image.high - by_image.low)) ** 2
    assert effect == pytest.approx(1 + 19 * correlation, rel=0.12)
    assert effect > 8


def test_intervals_of_auroc_over_patients_cover_the_truth() -> None:
    """The image-wise interval of the same data misses the truth far more often than its 5 %."""
    truth = 0.7602  # Phi(1 / sqrt 2)
    hits = {"patient": 0, "image": 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(50), 8)
        labels = (np.arange(50) % 2)[patients]
        scores = labels + 0.9 * rng.normal(0, 1, 50)[patients] + np.sqrt(1 - 0.81) * rng.normal(0, 1, 400)
        ranked = Ranked(labels, scores)
        for how, names in (("patient", patients.astype(str)), ("image", np.arange(400).astype(str))):
            found = patient_bootstrap(ranked.auroc, names, draws=300, seed=seed)
            hits[how] += found.low <= truth <= found.high
    assert hits["patient"] >= 52  # 57 expected; 51 or fewer has a chance below 1 %
    assert hits["image"] <= 40


def test_draws_with_one_class_are_left_out_and_counted() -> None:
    labels, scores = np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3])
    found = patient_bootstrap(Ranked(labels, scores).auroc, ["a", "b", "c"])
    assert (found.value, found.low, found.high) == (1, None, None)  # no width is no interval
    # all three from {b, c}: (2/3)^3 = 8/27; all three a: 1/27
    assert found.discarded / 2000 == pytest.approx(9 / 27, abs=0.035)
    assert found.draws + found.discarded == 2000


def test_strata_keep_both_classes_in_every_draw() -> None:
    labels, scores = np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3])
    bootstrap = Bootstrap(["a", "b", "c"], strata=labels)
    assert bootstrap.estimate(Ranked(labels, scores).auroc).discarded == 0
    for weights in bootstrap.weights():
        assert (weights[:, 2] == 1).all()
        assert (weights.sum(axis=1) == 3).all()


def test_all_images_of_a_patient_are_drawn_together() -> None:
    patients = ["a", "b", "a", "c", "b", "a"]
    for weights in Bootstrap(patients, draws=50).weights():
        assert (weights[:, [0, 0, 1]] == weights[:, [2, 5, 4]]).all()
        assert ((weights[:, 0] + weights[:, 1] + weights[:, 3]) == 3).all()


def test_a_figure_of_rows_is_the_same_as_one_of_weights() -> None:
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 30), rng.integers(0, 6, 30)
    patients = [str(i // 3) for i in range(30)]
    fast = patient_bootstrap(Ranked(labels, scores).auroc, patients, draws=200)
    slow = patient_bootstrap(of_rows(lambda pick: auroc(labels[pick], scores[pick])), patients, draws=200)
    assert (slow.value, slow.low, slow.high) == pytest.approx((fast.value, fast.low, fast.high))


def test_where_nothing_can_be_said_nothing_is_said() -> None:
    one_class = patient_bootstrap(Ranked([1, 1], [0.1, 0.2]).auroc, ["a", "b"])
    assert (one_class.value, one_class.low, one_class.discarded) == (None, None, 2000)
    one_patient = patient_bootstrap(Ranked([0, 1], [0.1, 0.2]).auroc, ["a", "a"])
    assert (one_patient.value, one_patient.low, one_patient.high) == (1, None, None)
