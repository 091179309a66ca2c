import numpy as np
import pytest
from scipy.stats import pearsonr

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.doubt import compare, distance_from_threshold, doubt, one_minus_two_sigma, pearson


def test_correlation_is_scipy_s_and_weights_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    sure, right = rng.random(50), rng.random(50) < 0.7
    weights = rng.integers(0, 4, (3, 50)).astype(float)
    for row, r in zip(weights, pearson(sure, right, weights), strict=True):
        many = row.astype(int)
        assert r == pytest.approx(pearsonr(np.repeat(sure, many), np.repeat(right, many).astype(float)).statistic)
    assert np.isnan(pearson(sure, np.ones(50), np.ones((1, 50)))[0])


def test_four_cases_by_hand() -> None:
    found = doubt("x", "opacity", [0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], Bootstrap(list("abcd"), draws=200))
    assert found.aurc.value == pytest.approx(0.145833, abs=1e-6)
    assert found.augrc == pytest.approx(0.125)
    assert (found.cases, found.errors) == (4, 1)
    assert found.confidence_right == pytest.approx((0.9 + 0.8 + 0.6) / 3)
    assert found.confidence_wrong == pytest.approx(0.7)
    by_coverage = {point.coverage: point.risk for point in found.referring}
    assert by_coverage[1.0] == 0.25
    assert by_coverage[0.5] == 0


def test_confidence_that_knows_has_a_correlation_away_from_zero_and_one_that_guesses_has_not() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(300) < 0.8
    patients = [str(i // 2) for i in range(300)]
    knows, guesses = right + rng.normal(0, 1, 300), rng.random(300)
    bootstrap = Bootstrap(patients)
    assert doubt("knows", "x", knows, right, bootstrap).correlation.low > 0
    nothing = doubt("guesses", "x", guesses, right, bootstrap).correlation
    assert nothing.low < 0 < nothing.high
    better = compare({"knows": knows, "guesses": guesses}, right, patients)
    assert better.value == pytest.approx(pearsonr(knows, right).statistic - pearsonr(guesses, right).statistic)
    assert better.low > 0


def test_no_errors_leave_nothing_to_correlate() -> None:
    found = doubt("x", "y", [0.9, 0.8, 0.7], [1, 1, 1], Bootstrap(list("abc"), draws=200))
    assert found.correlation.value is None
    assert found.confidence_wrong is None
    assert found.aurc.value == 0


def test_confidences_by_hand() -> None:
    assert one_minus_two_sigma(np.std([0.9, 0.8, 1, 0.7, 0.6])) == pytest.approx(0.717157, abs=1e-6)
    assert one_minus_two_sigma(np.std([0, 1, 0, 1])) == 0
    # odds 9 against odds 1/3: ln 27
    assert distance_from_threshold([0.9, 0.25], 0.25) == pytest.approx([np.log(27), 0])
