"""Conformal sets: the worked example, coverage by simulation, patients instead of images, and what too few of them mean."""

import numpy as np
import pytest

from medcam.errors import UsageError
from medcam.reliability.conformal import (
    Conformal,
    aps_parts,
    fit,
    least_patients,
    lesion_threshold,
    nonconformity,
    outlier_p_value,
    quantile,
    risk_bound,
)

P = np.array(
    [
        *((0.6, 0.3, 0.1), (0.5, 0.4, 0.1), (0.2, 0.7, 0.1), (0.3, 0.3, 0.4), (0.05, 0.15, 0.8)),
        *((0.45, 0.35, 0.2), (0.1, 0.6, 0.3), (0.25, 0.25, 0.5), (0.9, 0.05, 0.05)),
    ]
)
Y = np.eye(3)[[0, 1, 1, 2, 2, 0, 1, 0, 0]]
NAMES = ["a", "b", "c"]
EACH_A_PATIENT = [f"p{i}" for i in range(9)]


def test_the_quantile_is_an_order_statistic():
    for n, alpha, rank in ((19, 0.1, 18), (9, 0.1, 9), (100, 0.1, 91), (9, 0.2, 8)):
        assert quantile(np.arange(1, n + 1)[::-1], alpha) == rank
    assert quantile(np.arange(8), 0.1) == np.inf
    assert [least_patients(alpha) for alpha in (0.1, 0.05, 0.01)] == [9, 19, 99]
    for alpha in (0.1, 0.05, 0.01):
        n = least_patients(alpha)
        assert np.isfinite(quantile(np.zeros(n), alpha))
        assert np.isinf(quantile(np.zeros(n - 1), alpha))


def test_nine_rows_by_hand():
    true = np.arange(9), Y.argmax(axis=1)
    assert np.sort(nonconformity(P, "lac")[true]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.55, 0.6, 0.6, 0.75])
    aps = nonconformity(P, "aps")[true]
    # row 4 has two classes at 0.3 above which 0.4 stands; row 8 two at 0.25 below 0.5: the first in order goes first
    assert aps == pytest.approx([0.6, 0.9, 0.7, 0.4, 0.8, 0.45, 0.6, 0.75, 0.9])
    for score, limit in (("lac", 0.6), ("aps", 0.9)):
        found = fit(P, Y, EACH_A_PATIENT, 0.2, head="softmax", labels=NAMES, score=score, by_class=False)
        assert found.quantiles[0] == pytest.approx((limit,) * 3)
        assert found.patients == ((9, 9, 9),)
    lac = fit(P, Y, EACH_A_PATIENT, 0.2, head="softmax", labels=NAMES, by_class=False)
    assert lac.set_of([0.5, 0.3, 0.2]).members == ("a",)
    empty = lac.set_of([0.34, 0.33, 0.33])
    assert empty.members == ()
    assert empty.text == "empty, unlike the calibration patients"
    assert empty.name == "80 % conformal set"


def test_the_parts_of_raps_by_hand():
    base, width, penalty = aps_parts([[0.6, 0.3, 0.1]], penalty=0.1, free=1)
    np.testing.assert_allclose(
        np.stack([base, width, penalty])[:, 0].T, [(0, 0.6, 0), (0.6, 0.3, 0.1), (0.9, 0.1, 0.2)]
    )


def test_a_single_logit_asks_between_the_finding_and_no_finding():
    p = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.9])[:, None]
    y = np.repeat([0, 1], 5)[:, None]
    who = [f"p{i}" for i in range(10)]
    found = fit(p, y, who, 0.2, head="single-logit", labels=["opacity"])
    # without: scores p of the five, k = ceil(6 x 0.8) = 5: 0.4; with: 1 - p, the greatest of 0.5 ... 0.1: 0.5
    assert found.quantiles == ((pytest.approx(0.4), pytest.approx(0.5)),)
    assert found.set_of([0.3]).members == ("no opacity",)
    assert found.set_of([0.7]).members == ("opacity",)
    assert found.set_of([0.45]).members == ()
    assert found.set_of([0.5]).members == ("opacity",), "at the quantile it belongs"
    wide = fit(p[::-1], y, who, 0.2, head="single-logit", labels=["opacity"])
    assert wide.set_of([0.5]).members == ("no opacity", "opacity")
    assert wide.set_of([0.5]).text == "no opacity or opacity"


def test_too_few_patients_of_a_class_leave_it_in_every_set_and_it_is_said():
    rng = np.random.default_rng(0)
    y = np.r_[np.zeros(40), np.ones(8)][:, None]
    p = rng.random((48, 1)) * 0.2 + 0.7 * y
    found = fit(p, y, [f"p{i}" for i in range(48)], head="single-logit", labels=["nodule"])
    assert found.quantiles[0][1] is None
    held = found.set_of([0.001])
    assert held.members == ("no nodule", "nodule")
    assert "it can never leave out nodule (8): there are too few calibration patients, at least 9" in held.text
    assert Conformal.from_bytes(found.to_bytes()) == found


def test_a_patient_counts_once_by_the_worst_image():
    p = np.array([0.9, 0.6, 0.8, 0.7, 0.2, 0.1])[:, None]
    y = np.array([1, 1, 1, 1, 0, 0])[:, None]
    who = ["a", "a", "b", "b", "a", "c"]
    found = fit(p, y, who, 0.4, head="single-logit", labels=["x"])
    # with: a 0.4, b 0.3, k = ceil(3 x 0.6) = 2; without: a 0.2, c 0.1
    assert found.quantiles == ((pytest.approx(0.2), pytest.approx(0.4)),)
    assert found.patients == ((2, 2),)


@pytest.mark.parametrize(("n", "low", "high", "mean"), [(100, 0.846, 0.945, 0.9005), (1000, 0.883, 0.915, 0.8998)])
def test_coverage_over_calibration_samples_is_that_of_the_notes(n, low, high, mean):
    """Of uniform scores the coverage is the quantile itself; theory: Beta(n + 1 - l, l), l = floor((n + 1) alpha)."""
    scores = np.sort(np.random.default_rng(1).random((2000, n)), axis=1)
    coverage = scores[:, int(np.ceil((n + 1) * 0.9 - 1e-9)) - 1]
    assert [quantile(row, 0.1) for row in scores[:50]] == coverage[:50].tolist()
    assert coverage.mean() == pytest.approx(mean, abs=0.002)
    assert np.percentile(coverage, (5, 95)) == pytest.approx((low, high), abs=0.004)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_unseen_patients_of_each_class_are_covered_though_one_is_rare(score):
    """Correlated images of a patient, one class in ten: the set of every image of a patient holds the truth."""
    rng = np.random.default_rng(2)

    def cohort(patients):
        sick = rng.random(patients) < 0.1
        own = rng.normal(0, 1, patients)
        images = 3
        z = 1.5 * np.repeat(sick, images) - 1 + np.repeat(own, images) + rng.normal(0, 0.5, patients * images)
        p = 1 / (1 + np.exp(-z))
        return p[:, None], np.repeat(sick, images)[:, None].astype(float), np.repeat(np.arange(patients), images)

    covered = {0: [], 1: []}
    for _ in range(40):
        p, y, who = cohort(400)
        found = fit(p, y, [str(i) for i in who], 0.1, head="single-logit", labels=["x"], score=score)
        p, y, who = cohort(400)
        answers = np.hstack([1 - p, p])
        limits = [np.inf if limit is None else limit for limit in found.quantiles[0]]
        inside = nonconformity(answers, score) <= np.array(limits) + 1e-12
        held = inside[np.arange(len(p)), y[:, 0].astype(int)]
        whole = held.reshape(400, 3).all(axis=1)
        for side in (0, 1):
            covered[side].append(whole[y[::3, 0] == side].mean())
    for side in (0, 1):
        assert np.mean(covered[side]) >= 0.9 - 0.01
        if score == "lac":
            assert np.mean(covered[side]) <= 0.9 + 0.03


def test_images_pooled_as_if_independent_would_not_cover_whole_patients():
    """Why patients count: the same cohort with every image as a patient of its own."""
    rng = np.random.default_rng(3)
    scores = rng.random((300, 10))
    pooled = quantile(scores[:150].ravel(), 0.1)
    by_patient = quantile(scores[:150].max(axis=1), 0.1)
    worst = scores[150:].max(axis=1)
    assert (worst <= pooled).mean() < 0.6
    assert (worst <= by_patient).mean() > 0.85


def test_labels_of_their_own_are_questions_of_their_own():
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, (200, 2)).astype(float)
    p = np.clip(0.5 + (y - 0.5) * [0.9, 0.1] + rng.normal(0, 0.05, y.shape), 0, 1)
    found = fit(p, y, [str(i) for i in range(200)], head="sigmoid", labels=["easy", "hard"])
    assert found.set_of([0.95, 0.5], label=0).members == ("easy",)
    assert found.set_of([0.95, 0.5], label=0).finding == "easy"
    assert found.set_of([0.95, 0.5], label=1).members == ("no hard", "hard")


def test_novelty_as_a_p_value():
    assert outlier_p_value([1, 2, 3, 4], 2.5) == pytest.approx(3 / 5)
    assert outlier_p_value([1, 2, 3, 4], 9) == pytest.approx(1 / 5)
    rng = np.random.default_rng(5)
    p = [outlier_p_value(rng.random(19), rng.random()) for _ in range(2000)]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.02)


def test_the_bound_of_the_missed_share_is_that_of_the_notes():
    for n, bound in ((9, 0), (19, 0.0526), (50, 0.082), (100, 0.091), (200, 0.0955)):
        assert risk_bound(n, 0.1) == pytest.approx(bound, abs=5e-5)


def test_a_map_cut_by_risk_control_misses_no_more_than_promised():
    rng = np.random.default_rng(6)

    def case():
        lesion = np.zeros((8, 8), bool)
        lesion[2:5, 3:7] = True
        return np.where(lesion, rng.normal(rng.normal(2, 0.7), 0.5, (8, 8)), rng.normal(0, 0.5, (8, 8))), lesion

    missed = []
    for _ in range(30):
        heats, lesions = zip(*(case() for _ in range(50)), strict=True)
        cut = lesion_threshold(heats, lesions, 0.1)
        losses = np.array([(heat[lesion] < cut).mean() for heat, lesion in zip(heats, lesions, strict=True)])
        assert losses.mean() <= risk_bound(50, 0.1) + 1e-12
        higher = np.nextafter(cut, np.inf)
        above = np.array([(heat[lesion] < higher).mean() for heat, lesion in zip(heats, lesions, strict=True)])
        assert above.mean() > risk_bound(50, 0.1), "it is the highest such cut"
        heat, lesion = case()
        missed.append((heat[lesion] < cut).mean())
    assert np.mean(missed) < 0.16
    nine = [case() for _ in range(9)]
    assert lesion_threshold(*zip(*nine, strict=True), 0.1) == min(heat[lesion].min() for heat, lesion in nine)
    with pytest.raises(UsageError, match="too-few-patients"):
        lesion_threshold(*zip(*nine[:8], strict=True), 0.1)


def test_alpha_is_a_share():
    with pytest.raises(UsageError, match="bad-alpha"):
        fit(P, Y, EACH_A_PATIENT, 90, head="softmax", labels=NAMES)
