"""Similarity, distance, magnitude: the paper's numbers, and what learning from calibration images must give."""

import numpy as np
import pytest

from medcam.reliability.sdm import SDM, least_reliable, log_activation, margin, share_below, similarity


@pytest.mark.parametrize(
    ("logits", "q", "d", "expected"),
    [
        ((2, 0), np.e - 2, 1, (0.880797, 0.119203)),  # softmax
        ((2, 0), 98, 0.5, (0.990099, 0.009901)),
        ((1, 0), 98, 0.5, (0.909091, 0.090909)),
        ((2, 1, 0), 8, 1, (0.900901, 0.090090, 0.009009)),
        ((3, 1, 0), 8, 0, (1 / 3, 1 / 3, 1 / 3)),
        ((0, 900), 1000, 1, (0, 1)),
    ],
)
def test_the_activation(logits, q, d, expected):
    assert np.exp(log_activation(logits, q, d)) == pytest.approx(expected, abs=1e-6)


def test_the_order_never_changes():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 3, (200, 5))
    found = log_activation(z, rng.integers(1, 900), rng.uniform(0.01, 1))
    assert (found.argmax(axis=1) == z.argmax(axis=1)).all()


def test_agreement_counts_from_the_nearest_on():
    right_a = np.array([True, True, True, False, False])  # training at 0, 1, 2 (right, A), 3 (wrong), 10 (right, B)
    assert similarity(right_a) == 3
    assert similarity([False, False, False, False, True]) == 0  # predicted B
    assert similarity([True, True]) == 2
    assert similarity([]) == 0


def test_the_margin_of_a_distribution():
    assert margin(100) == pytest.approx(0.135810, abs=1e-6)
    assert margin(1000) == pytest.approx(0.042947, abs=1e-6)
    assert margin(0) == margin(1) == 1
    rng = np.random.default_rng(1)  # it holds: the greatest gap to the true distribution, of uniform values
    gaps = [np.abs(np.sort(rng.random(100)) - np.arange(1, 101) / 100).max() for _ in range(400)]
    assert np.mean(np.array(gaps) <= margin(100)) >= 0.95


def test_a_share_is_of_what_is_strictly_less():
    assert [share_below([1, 2, 2, 3], x) for x in (0, 1, 2, 2.5, 9)] == [0, 0, 0.25, 0.75, 1]
    assert share_below([], 1) == 0


def test_what_calibration_teaches_by_hand():
    """Four images: two without at odds -1 (near, far), two with at odds 1 (near, and one that the network missed)."""
    found = SDM.fit(
        q=[3, 2, 4, 0], nearest=[1.0, 2.0, 1.5, 9.0], odds=[-1, -1, 1, -1], truth=[False, False, True, True]
    )
    assert [side.tolist() for side in found.near] == [[1.0, 2.0], [1.5]], "the missed one has q = 0"
    assert [found.distance(x) for x in (0.5, 1.2, 1.7, 2.5)] == [1, 0.5, 0, 0]

    def activation(q, d, odds):
        power = (2.0 + q) ** (d * np.array([0, odds]))
        return power / power.sum()

    sure = [activation(3, 1.0, -1)[0], activation(2, 0, -1)[0]], [activation(4, 0.5, 1)[1], activation(0, 0, -1)[1]]
    for side in (0, 1):
        np.testing.assert_allclose(found.sure[side], np.sort(sure[side]))
    # of the first: one of two without is less sure; of the third: one of two with
    np.testing.assert_allclose(found.supported[0], sorted([0.5 * np.log(5), 0]))
    np.testing.assert_allclose(found.supported[1], sorted([0.5 * np.log(6), 0]))
    assert found.lower(q=3, nearest=1.0, odds=-1) == 0, "two images leave no certainty"


def test_support_grows_with_agreement_nearness_and_odds():
    rng = np.random.default_rng(2)
    n = 600
    truth = rng.random(n) < 0.5
    odds = np.where(truth, 1, -1) * rng.gamma(4, 0.7, n)
    known = SDM.fit(rng.integers(1, 300, n), rng.gamma(4, 1, n), odds, truth)
    assert known.lower(250, 2.0, 4.0) > known.lower(20, 2.0, 4.0) > 0
    assert known.lower(250, 2.0, 4.0) > known.lower(250, 5.0, 4.0)
    assert known.lower(250, 2.0, 5.0) >= known.lower(250, 2.0, 2.0)
    assert known.lower(0, 2.0, 4.0) < known.lower(250, 2.0, 4.0)
    assert known.lower(250, np.inf, 4.0) == 0
    assert known.lower(250, 2.0, 4.0) <= np.log(252)


def test_the_reliable_region_begins_where_both_answers_are_right():
    support = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
    activation = np.array([1.0, 0.2, 0.99, 0.5, 0.99, 0.97, 0.99])
    truth = np.array([0, 0, 1, 1, 0, 1, 0], bool)
    assert least_reliable(support, activation, truth) == 2.5
    assert least_reliable(support, activation, np.zeros(7, bool)) is None, "of one answer nothing is known"
    assert least_reliable(support / 10, activation, truth) is None, "less than one neighbour supports nothing"
