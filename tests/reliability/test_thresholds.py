"""Cuts by hand, by brute force and by simulation; patients are drawn whole."""

import numpy as np
import pytest

from medcam.errors import UsageError
from medcam.evaluation.classification import youden as youden_of_one_sample
from medcam.reliability.thresholds import (
    conformal_cut,
    cost,
    fixed_sensitivity,
    net_benefit,
    plain_cut,
    youden,
)


def cohort(patients=60, images=2, seed=0):
    rng = np.random.default_rng(seed)
    sick = np.repeat(rng.random(patients) < 0.4, images)
    scores = 1 / (1 + np.exp(-(2 * sick - 1 + rng.normal(0, 1, len(sick)))))
    return scores, sick.astype(float), np.repeat([f"p{i}" for i in range(patients)], images).tolist()


def test_youden_is_the_median_over_draws_of_whole_patients():
    """Against the same draws, with each cut by the plain Youden of one sample."""
    scores, sick, who = cohort()
    found = youden(scores, sick, who, draws=50, seed=3)
    rng, names = np.random.default_rng(3), np.unique(who)
    cuts = []
    for _ in range(50):
        drawn = names[rng.integers(0, 60, 60)]
        rows = np.concatenate([np.flatnonzero(np.array(who) == name) for name in drawn])
        cuts.append(youden_of_one_sample(sick[rows], scores[rows]))
    assert found.value == pytest.approx(np.median(cuts))
    assert found.interval == pytest.approx(tuple(np.percentile(cuts, (2.5, 97.5))))
    assert found.interval[0] < found.value < found.interval[1]
    assert found.origin == "Youden on 60 calibration patients"
    flagged = scores >= found.value
    assert found.sensitivity == flagged[sick == 1].mean()
    assert found.specificity == (~flagged)[sick == 0].mean()
    assert found == youden(scores, sick, who, draws=50, seed=3), "a seed repeats"


def test_the_cut_at_a_fixed_sensitivity_by_hand():
    positives = [0.9, 0.2, 0.5, 0.7, 0.6, 0.8, 0.4, 0.3, 0.95, 0.1]
    assert plain_cut(positives, 0.9) == 0.2  # floor(0.1 x 10) + 1 = second smallest: 9 of 10 at or above
    assert plain_cut(positives, 0.85) == 0.2
    assert plain_cut(positives, 0.95) == 0.1
    assert conformal_cut(positives, 0.9) == 0.1  # floor(11 x 0.1) = 1
    assert conformal_cut(positives, 0.95) == -np.inf  # floor(11 x 0.05) = 0
    assert conformal_cut(np.arange(1, 20), 0.95) == 1  # 19 positives: the smallest one


def test_the_finite_sample_cut_holds_for_new_patients_and_the_plain_one_does_not():
    samples = np.random.default_rng(1).random((4000, 40))  # uniform: a cut t lets 1 - t of new patients pass
    finite, plain = (np.mean([1 - cut(sample, 0.95) for sample in samples]) for cut in (conformal_cut, plain_cut))
    assert finite == pytest.approx(1 - 2 / 41, abs=0.002)
    assert plain == pytest.approx(1 - 3 / 41, abs=0.002)
    assert finite >= 0.95 > plain


def test_a_patient_counts_by_the_highest_of_its_images_with_the_finding():
    scores = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.99, 0.5]
    sick = [1, 1, 1, 1, 1, 1, 0, 0]
    who = ["a", "a", "b", "b", "c", "c", "a", "d"]
    found = fixed_sensitivity(scores, sick, who, 0.6, finite_sample=False)  # of 0.9, 0.8, 0.7 the second smallest
    assert found.value == 0.8
    assert found.origin == "sensitivity 60% on 3 calibration patients with the finding"


def test_too_few_patients_flag_everybody_and_say_so():
    scores, sick, who = cohort(patients=20)
    found = fixed_sensitivity(scores, sick, who, 0.95)
    assert found.value == 0
    assert found.sensitivity == 1
    assert "too few, at least 19 are needed, so that all are flagged" in found.origin
    assert np.isfinite(found.interval).all()


def test_a_single_score_for_all_has_a_cut_too():
    found = youden([0.3] * 6, [0, 1, 0, 1, 0, 1], list("abcdef"), draws=20)
    assert found.value == 0.3


def test_costs_and_net_benefit():
    assert cost(1, 9) == pytest.approx(0.1)
    scores, sick = np.array([0.9, 0.6, 0.4, 0.2]), np.array([1, 0, 1, 0])
    assert net_benefit(scores, sick, 0.5) == pytest.approx(1 / 4 - 1 / 4 * 1)
    assert net_benefit(scores, sick, 0.2) == pytest.approx(2 / 4 - 2 / 4 * 0.25)
    # on a calibrated score the cut by costs is where expected cost is least
    rng = np.random.default_rng(2)
    p = rng.random(200_000)
    y = rng.random(200_000) < p
    cuts = np.linspace(0.02, 0.3, 15)
    paid = [(~y & (p >= cut)).mean() * 1 + (y & (p < cut)).mean() * 9 for cut in cuts]
    assert cuts[np.argmin(paid)] == pytest.approx(cost(1, 9), abs=0.021)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(UsageError, match="one-class"):
        youden([0.1, 0.2], [1, 1], ["a", "b"])
    with pytest.raises(UsageError, match="bad-sensitivity"):
        fixed_sensitivity([0.1, 0.2], [0, 1], ["a", "b"], 95)
