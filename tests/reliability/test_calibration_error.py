"""ECE, Brier and NLL by hand, against torchmetrics and scikit-learn, and what chance alone makes of them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from medcam.reliability.calibration_error import (
    brier,
    brier_of_classes,
    class_wise_ece,
    equal_mass,
    equal_width,
    expected_by_chance,
    nll,
    top_label,
)

CONFIDENCE, CORRECT = (0.95, 0.95, 0.65, 0.55), (1, 1, 0, 1)


def test_ece_by_hand():
    assert equal_width(CONFIDENCE, CORRECT, 10).ece == pytest.approx(0.30)
    assert equal_width(CONFIDENCE, CORRECT, 10).mce == pytest.approx(0.65)
    assert equal_mass(CONFIDENCE, CORRECT, 2).ece == pytest.approx(0.075)
    assert equal_mass(CONFIDENCE, CORRECT, 2).count == (2, 2)


def test_bins_are_open_below_and_closed_above():
    bins = equal_width([0.0, 0.1, 0.1000001, 1.0], [0, 0, 0, 1], 10)
    assert bins.count == (2, 1, 1)


def test_ece_equals_that_of_torchmetrics():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 500)
    y = np.array([rng.choice(4, p=row) for row in p])
    one_hot = np.eye(4)[y]
    theirs = {
        norm: float(multiclass_calibration_error(torch.tensor(p), torch.tensor(y), 4, n_bins=15, norm=norm))
        for norm in ("l1", "max")
    }
    mine = equal_width(*top_label(p, one_hot))
    assert mine.ece == pytest.approx(theirs["l1"], abs=1e-6)
    assert mine.mce == pytest.approx(theirs["max"], abs=1e-6)
    each = []
    for k in range(4):
        binary = binary_calibration_error(torch.tensor(p[:, k]), torch.tensor(one_hot[:, k]).long(), n_bins=15)
        each.append(equal_width(p[:, k], one_hot[:, k]).ece)
        assert each[-1] == pytest.approx(float(binary), abs=1e-6)
    assert class_wise_ece(p, one_hot) == pytest.approx(np.mean(each))


def test_brier_by_hand_and_by_scikit_learn():
    assert brier([0.8], [1]).score == pytest.approx(0.04)
    assert brier_of_classes([[0.2, 0.8]], [[0, 1]]) == pytest.approx(0.08)
    rng = np.random.default_rng(1)
    p, y = rng.random(200), rng.integers(0, 2, 200)
    assert brier(p, y).score == pytest.approx(brier_score_loss(y, p))


def test_brier_falls_into_its_parts_exactly_for_forecasts_that_are_one_per_bin():
    rng = np.random.default_rng(2)
    p = rng.choice([0.1, 0.35, 0.8], 300)
    y = rng.random(300) < p * 0.9
    found = brier(p, y, 10)
    assert found.within_bins == pytest.approx(0, abs=1e-12)
    assert found.score == pytest.approx(found.reliability - found.resolution + found.uncertainty)
    by_hand = sum((p == level).mean() * (level - y[p == level].mean()) ** 2 for level in (0.1, 0.35, 0.8))
    assert found.reliability == pytest.approx(by_hand)
    assert brier(rng.random(300), y, 10).within_bins != pytest.approx(0, abs=1e-6)


def test_nll_is_that_of_scikit_learn_and_finite_at_certain_errors():
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(3), 100)
    y = rng.integers(0, 3, 100)
    assert nll(p, np.eye(3)[y], softmax=True) == pytest.approx(log_loss(y, p))
    assert nll(p[:, :1], (y == 0)[:, None]) == pytest.approx(log_loss(y == 0, p[:, 0]))
    assert np.isfinite(nll([[0.0]], [[1]]))


def test_small_samples_alone_make_an_error():
    """A perfectly calibrated model: what the notes found for 200, 1000 and 5000 cases."""
    rng = np.random.default_rng(4)
    for cases, expected in ((200, 0.061), (1000, 0.029), (5000, 0.012)):
        assert expected_by_chance(rng.uniform(0.5, 1, cases)) == pytest.approx(expected, abs=0.004)
