"""Calibration maps against scipy's optimiser, planted scales, and what they must leave alone."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from medcam.errors import UsageError
from medcam.reliability import calibration
from medcam.reliability.calibration import LEAST, MOST, Calibration, fit, log_odds, probabilities, sigmoid
from medcam.reliability.thresholds import Threshold


def drawn(logits, rng):
    """Labels (N, K) one-hot, drawn by the softmax of the logits."""
    return (rng.random((len(logits), 1)) < softmax(logits, axis=1).cumsum(axis=1)).argmax(axis=1)[:, None] == np.arange(
        logits.shape[1]
    )


def test_the_temperature_of_logits_that_are_three_times_too_large_is_three():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (10_000, 4))
    y = drawn(z, rng)
    found = fit(3 * z, y, "softmax")
    assert 1 / found.scale[0] == pytest.approx(3, abs=0.1)
    assert set(found.scale) == {found.scale[0]}
    assert found.offset == (0, 0, 0, 0)
    best = minimize(lambda s: -(y * log_softmax(s * 3 * z, axis=1)).sum(axis=1).mean(), [1.0], method="Nelder-Mead")
    assert found.scale[0] == pytest.approx(best.x[0], rel=5e-3)  # beside the smoothing of so many
    few, truth = 3 * z[:40], y[:40]
    seen = truth.sum(axis=0)[truth.argmax(axis=1)][:, None]
    soft = (truth * seen + 1) / (seen + 4)
    best = minimize(lambda s: -(soft * log_softmax(s * few, axis=1)).sum(axis=1).mean(), [1.0], method="Nelder-Mead")
    assert fit(few, truth, "softmax").scale[0] == pytest.approx(best.x[0], abs=1e-4)
    timid = fit(0.2 * z, y, "softmax")  # a focal loss makes such
    assert 1 / timid.scale[0] == pytest.approx(0.2, abs=0.01)


def test_a_temperature_of_one_changes_nothing_and_none_changes_the_order():
    z = np.random.default_rng(1).normal(0, 3, (50, 3))
    plain = Calibration("softmax", (1, 1, 1), (0, 0, 0), (0.3, 0.3, 0.4), 50, 50)
    np.testing.assert_allclose(plain.probability(z), softmax(z, axis=1), atol=1e-12)
    warm = Calibration("softmax", (0.3,) * 3, (0, 0, 0), (0.3, 0.3, 0.4), 50, 50)
    assert (warm.probability(z).argmax(axis=1) == z.argmax(axis=1)).all()
    assert warm.probability(z).max(axis=1).mean() < plain.probability(z).max(axis=1).mean()


def test_platt_scaling_is_the_optimum_that_scipy_finds():
    rng = np.random.default_rng(2)
    z = rng.normal(0, 3, (400, 2))
    y = (rng.random(z.shape) < expit(0.5 * z - [1.0, -0.5])).astype(float)
    found = fit(z, y, "sigmoid", patients=[f"p{i // 4}" for i in range(400)])
    for k in range(2):
        n, m = y[:, k].sum(), (1 - y[:, k]).sum()
        soft = np.where(y[:, k] > 0, (n + 1) / (n + 2), 1 / (m + 2))  # Platt 1999

        def loss(w, k=k, soft=soft):
            logits = w[0] * z[:, k] + w[1]
            return (np.logaddexp(0, logits) - soft * logits).mean()

        best = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9})
        assert (found.scale[k], found.offset[k]) == pytest.approx(tuple(best.x), abs=1e-5)
        assert found.probability(z)[:, k].mean() == pytest.approx(soft.mean()), "calibrated in the large"
    assert (found.patients, found.images) == (100, 400)
    assert found.scale[0] == pytest.approx(0.5, abs=0.1)
    assert found.offset == pytest.approx((-1, 0.5), abs=0.3)


def test_no_data_make_an_infinite_or_a_backward_scale():
    z = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    apart = fit(z, [[0], [0], [1], [1]], "single-logit")
    assert 0 < apart.scale[0] < MOST
    assert 0.5 < apart.probability([2.0])[0] < 0.9, "four images are no proof"
    backward = fit(z, [[1], [1], [0], [0]], "single-logit")
    assert backward.scale[0] == LEAST
    assert backward.probability(z)[:, 0] == pytest.approx([0.5] * 4, abs=0.02), "useless scores become the prevalence"
    few = fit(np.eye(3) * 9, np.eye(3), "softmax")
    np.testing.assert_allclose(few.probability(np.eye(3) * 9).max(axis=1), 2 / 4, atol=1e-6)  # (n + 1) / (n + K), n = 1


def test_a_label_that_nobody_has_stays_uncalibrated_and_no_label_at_all_is_refused():
    z = np.random.default_rng(3).normal(0, 1, (30, 2))
    y = np.stack([np.arange(30) % 2, np.zeros(30)], axis=1)
    found = fit(z, y, "sigmoid")
    assert found.fitted(0)
    assert not found.fitted(1)
    np.testing.assert_allclose(found.probability(z)[:, 1], expit(z[:, 1]))
    with pytest.raises(UsageError, match="one-class"):
        fit(z[:, :1], y[:, 1:], "single-logit")


@pytest.mark.parametrize("head", ["single-logit", "softmax"])
def test_the_prior_can_be_moved_to_another_prevalence(head):
    """Bayes by hand: odds times the ratio of the priors' odds."""
    k = 1 if head == "single-logit" else 3
    old = Calibration(head, (1.0,) * k, (0.0,) * k, (0.3,) if k == 1 else (0.5, 0.3, 0.2), 9, 9)
    new = old.shift_prior([0.05] if k == 1 else [0.8, 0.1, 0.1])
    z = np.array([0.7] if k == 1 else [0.2, 1.0, -0.5])
    if k == 1:
        odds = np.exp(0.7) * (0.05 / 0.95) / (0.3 / 0.7)
        assert new.probability(z)[0] == pytest.approx(odds / (1 + odds))
    else:
        weighted = softmax(z) * np.array([0.8 / 0.5, 0.1 / 0.3, 0.1 / 0.2])
        np.testing.assert_allclose(new.probability(z), weighted / weighted.sum())
    back = new.shift_prior(old.prior)
    assert back.offset == pytest.approx(old.offset, abs=1e-12)
    with pytest.raises(UsageError, match="bad-prior"):
        old.shift_prior([0.0] * k)
    with pytest.raises(UsageError, match="bad-prior"):
        old.shift_prior([0.5] * (k + 1))


def test_what_is_kept_in_a_bundle_comes_back():
    cut = Threshold(0.41, "Youden on 120 calibration patients", (0.3, 0.5), 0.9, 0.8)
    one = Calibration("single-logit", (0.7,), (-1.0,), (0.2,), 120, 300, "here", (cut,), {"ece": 0.03})
    assert Calibration.from_bytes(one.to_bytes()) == one
    assert calibration.BLOB == "configs/calibration.json"


def test_large_logits_neither_overflow_nor_lose_their_order():
    z = np.array([-800.0, -30.0, 0.0, 30.0, 800.0])
    np.testing.assert_allclose(sigmoid(z), expit(z), rtol=1e-12)
    assert np.isfinite(log_odds([0.0, 1.0])).all()
    np.testing.assert_allclose(log_odds(expit([-3.0, 2.0])), [-3, 2], atol=1e-9)
    np.testing.assert_allclose(probabilities([[900.0, 0.0]], "softmax"), [[1, 0]])
