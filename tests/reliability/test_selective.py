"""Risk over coverage: the worked example in both conventions, ties, the best and the blind ranking."""

import itertools

import numpy as np
import pytest

from medcam.reliability.selective import at_coverage, at_risk, augrc, aurc, excess_aurc, risk_coverage

EXAMPLE = risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])


def test_four_cases_by_hand_in_both_conventions():
    assert EXAMPLE.risk == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert EXAMPLE.generalised_risk == pytest.approx([0, 0, 0.25, 0.25])
    assert aurc(EXAMPLE) == pytest.approx(0.145833, abs=1e-6)
    assert aurc(EXAMPLE, "trapezoid") == pytest.approx(0.114583, abs=1e-6)
    assert augrc(EXAMPLE) == pytest.approx(0.125)
    assert augrc(EXAMPLE, "trapezoid") == pytest.approx(0.09375)
    best = np.mean([0, 0, 0, 1 / 4])
    assert excess_aurc(EXAMPLE) == pytest.approx(aurc(EXAMPLE) - best)


def test_the_order_of_equal_confidences_does_not_matter():
    """Their errors count as in the mean over all orders."""
    confidence = np.repeat([0.9, 0.5], 4)
    correct = np.array([1, 1, 0, 1, 0, 1, 1, 0])
    tied = risk_coverage(confidence, correct)
    orders = itertools.product(itertools.permutations(range(4)), itertools.permutations(range(4, 8)))
    broken = [risk_coverage(-np.arange(8.0), correct[[*first, *last]]) for first, last in orders]
    assert aurc(tied) == pytest.approx(np.mean([aurc(one) for one in broken]))
    assert augrc(tied) == pytest.approx(np.mean([augrc(one) for one in broken]))
    assert len(tied.coverage) == 2
    shuffled = [5, 0, 7, 2, 1, 6, 3, 4]
    assert aurc(risk_coverage(confidence[shuffled], correct[shuffled])) == pytest.approx(aurc(tied))


def test_the_best_ranking_is_optimal_and_a_blind_one_costs_the_error_rate():
    n, error = 5000, 0.2
    correct = np.arange(n) >= error * n
    perfect = risk_coverage(correct, correct)
    ranked = risk_coverage(np.arange(n), correct)
    assert aurc(ranked) == pytest.approx(error + (1 - error) * np.log(1 - error), abs=1e-3)
    assert augrc(ranked) == pytest.approx(error**2 / 2, abs=1e-3)
    assert excess_aurc(ranked) == pytest.approx(0, abs=1e-12)
    assert aurc(perfect) == pytest.approx(aurc(ranked), abs=1e-3)
    rng = np.random.default_rng(1)
    blind = np.mean([aurc(risk_coverage(rng.random(n), correct)) for _ in range(10)])
    assert blind == pytest.approx(error, abs=0.01)
    assert aurc(risk_coverage(np.ones(n), correct)) == pytest.approx(error), "all alike is blind"


def test_operating_points():
    kept = at_coverage(EXAMPLE, 0.75)
    assert (kept.coverage, kept.risk, kept.confidence, kept.referred) == (0.75, pytest.approx(1 / 3), 0.7, 1)
    assert at_coverage(EXAMPLE, 0.6).coverage == 0.75, "at least what was asked for"
    assert at_coverage(EXAMPLE, 1.0).referred == 0
    fewest = at_risk(EXAMPLE, 0.25)
    assert fewest is not None
    assert fewest.referred == 0
    strict = at_risk(EXAMPLE, 0.1)
    assert strict is not None
    assert (strict.coverage, strict.referred) == (0.5, 2)
    assert at_risk(risk_coverage([0.9, 0.8], [0, 1]), 0.1) is None
