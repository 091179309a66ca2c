"""Aleatoric and epistemic doubt: the worked example, extremes and bounds."""

import numpy as np
import pytest
from scipy.stats import entropy

from medcam.reliability.entropy import doubt, doubt_of_event, nested


def test_three_passes_by_hand():
    found = doubt_of_event([[0.9], [0.7], [0.8]])
    assert found.entropy[0] == pytest.approx(0.500402, abs=1e-6)
    assert found.aleatoric[0] == pytest.approx(0.478783, abs=1e-6)
    assert found.epistemic[0] == pytest.approx(0.021619, abs=1e-6)
    assert found.spread[0] == pytest.approx(0.081650, abs=1e-6)
    assert found.confidence[0] == pytest.approx(1 - 2 * 0.081650, abs=1e-6)
    assert found.margin[0] == pytest.approx(0.6)
    assert found.variation_ratio[0] == 0


def test_opposite_certainties_are_all_epistemic_and_equal_answers_not_at_all():
    apart = doubt_of_event([[0.0], [1.0]])
    assert apart.entropy[0] == apart.epistemic[0] == pytest.approx(np.log(2))
    assert apart.aleatoric[0] == 0
    assert apart.variation_ratio[0] == 0.5
    alike = doubt_of_event([[0.3], [0.3], [0.3]])
    assert alike.epistemic[0] == pytest.approx(0, abs=1e-15)
    assert alike.epistemic[0] >= 0
    assert alike.entropy[0] == pytest.approx(entropy([0.3, 0.7]))


def test_many_classes_against_scipy_and_the_bounds():
    p = np.random.default_rng(0).dirichlet(np.full(4, 0.3), (7, 50))  # (T, B, C)
    found = doubt(p)
    np.testing.assert_allclose(found.entropy, entropy(p.mean(axis=0), axis=-1))
    np.testing.assert_allclose(found.aleatoric, entropy(p, axis=-1).mean(axis=0))
    assert (found.epistemic >= 0).all()
    assert (found.epistemic <= found.entropy + 1e-12).all()
    assert (found.entropy <= np.log(4) + 1e-12).all()
    top = p.mean(axis=0)[0].argmax()
    assert found.spread[0] == pytest.approx(p[:, 0, top].std())
    votes = np.bincount(p[:, 0].argmax(axis=1), minlength=4) / 7
    assert found.variation_ratio[0] == pytest.approx(1 - votes.max())


def test_variance_of_networks_and_of_changes_add_up():
    p = np.random.default_rng(1).random((5, 8, 3))
    networks, changes = nested(p)
    np.testing.assert_allclose(networks + changes, p.reshape(40, 3).var(axis=0))
    alike = np.broadcast_to(p[:1], p.shape)
    np.testing.assert_allclose(nested(alike)[0], 0, atol=1e-15)
