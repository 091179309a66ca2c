import numpy as np
import pytest

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.calibration import calibrated, ece
from medcam.evaluation.classification import wilson
from medcam.reliability.calibration_error import equal_width


def test_error_for_weights_is_that_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    p = np.append(rng.random(78), [0.0, 1.0])
    y = (rng.random(80) < p).astype(float)
    weights = rng.integers(0, 4, (4, 80)).astype(float)
    for row, found in zip(weights, ece(p, y, weights), strict=True):
        many = row.astype(int)
        assert found == pytest.approx(equal_width(np.repeat(p, many), np.repeat(y, many), 10).ece)


def test_four_cases_by_hand() -> None:
    found = calibrated("x", [1, 1, 0, 1], [0.95, 0.95, 0.65, 0.55], list("abcd"), Bootstrap(list("abcd"), draws=200))
    # bins (0.9, 1]: 0.05 over two; (0.6, 0.7]: 0.65; (0.5, 0.6]: 0.45
    assert found.ece.value == pytest.approx((0.05 * 2 + 0.65 + 0.45) / 4)
    assert found.bins.count == (1, 1, 2)
    assert [one.value for one in found.bin_intervals] == list(found.bins.came_true) == [1, 0, 1]
    assert found.bin_intervals[2].low == pytest.approx(wilson(2, 2)[0])
    assert found.brier.value == pytest.approx((2 * 0.05**2 + 0.65**2 + 0.45**2) / 4)
    assert found.brier.value == pytest.approx(found.brier_parts.score)
    assert found.nll == pytest.approx(-np.mean(np.log([0.95, 0.95, 0.35, 0.55])))
    assert (found.stated, found.came_true) == pytest.approx((0.775, 0.75))


def test_true_probabilities_have_the_error_that_chance_brings_and_bold_ones_more() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(800)
    y = (rng.random(800) < p).astype(float)
    names = [str(i) for i in range(800)]
    bootstrap = Bootstrap(names, draws=300)
    honest = calibrated("x", y, p, names, bootstrap)
    assert honest.ece.value == pytest.approx(honest.ece_by_chance, abs=0.02)
    bold = calibrated("x", y, np.where(p > 0.5, 0.95, 0.05), names, bootstrap)
    assert bold.ece.low > 3 * bold.ece_by_chance
