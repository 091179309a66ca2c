"""Agreement of heat maps: the worked example, scipy's ranks, and maps that only look alike when stretched."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from medcam.grid import Grid
from medcam.reliability.maps import (
    centre_spread,
    inclusion,
    inclusion_entropy,
    mean,
    overlap,
    rank_agreement,
    scaled,
    stability,
)

TWO_PIXELS = np.array([[0.9, 0.2], [0.7, 0.4], [0.8, 0.0]])


def test_two_pixels_by_hand():
    np.testing.assert_allclose(mean(TWO_PIXELS), [0.8, 0.2])
    np.testing.assert_allclose(stability(TWO_PIXELS), [0.8367, 0.6734], atol=1e-4)
    np.testing.assert_allclose(inclusion(TWO_PIXELS), [1, 0])
    np.testing.assert_allclose(inclusion(TWO_PIXELS, 0.3), [1, 1 / 3])
    np.testing.assert_allclose(inclusion_entropy(TWO_PIXELS), [0, 0])
    np.testing.assert_allclose(inclusion_entropy([[1, 1], [0, 1]]), [np.log(2), 0])


def test_equal_maps_agree_and_the_overlap_of_others_is_counted():
    maps = np.random.default_rng(0).random((1, 5, 6)).repeat(4, axis=0)
    assert overlap(maps) == 1
    assert rank_agreement(maps) == pytest.approx(1)
    np.testing.assert_allclose(stability(maps), 1)
    three = np.zeros((3, 4))
    three[0, :2] = three[1, 1:3] = three[2, :2] = 1
    assert overlap(three) == pytest.approx(np.mean([1 / 3, 1, 1 / 3]))
    assert overlap(np.zeros((2, 4))) == 1
    assert overlap([[1, 0], [0, 0]]) == 0
    assert np.isnan(overlap(np.zeros((1, 4))))


def test_ranks_are_those_of_scipy_ties_included():
    maps = np.random.default_rng(1).integers(0, 4, (4, 30)).astype(float)
    expected = np.mean([spearmanr(a, b).statistic for a, b in itertools.combinations(maps, 2)])
    assert rank_agreement(maps) == pytest.approx(expected)
    assert rank_agreement([[1, 2, 3], [5, 5, 5]]) == 0


def test_one_scale_for_all_maps_keeps_a_weak_one_weak():
    """A map with next to no evidence, stretched on its own, would agree perfectly."""
    strong = np.array([0.0, 1.0, 4.0, 0.0])
    maps = np.stack([strong, strong / 100])
    assert overlap(maps / maps.max(axis=1, keepdims=True)) == 1
    assert scaled(maps).max() <= 1
    assert overlap(scaled(maps)) == 0
    np.testing.assert_allclose(scaled(maps)[1].max(), 0.04 / 2.02)
    assert (scaled(-maps) == 0).all()


def test_cells_that_a_map_did_not_see_do_not_count():
    maps = np.array([[1.0, 0.0, np.nan], [1.0, 0.0, 1.0], [1.0, np.nan, 1.0]])
    assert overlap(maps) == 1
    np.testing.assert_allclose(mean(maps), [1, 0, 1])
    np.testing.assert_allclose(inclusion(maps), [1, 0, 1])
    assert np.isnan(mean(np.full((2, 1), np.nan))).all()
    assert np.isnan(scaled(maps)).sum() == 2


def test_how_far_centres_of_mass_wander_in_millimetres():
    grid = Grid.plane((4, 10), (2.0, 3.0), space="detector", mm_known=True)
    maps = np.zeros((2, 4, 10))
    maps[0, 1, 2] = maps[1, 1, 6] = 5
    assert centre_spread(maps, grid) == pytest.approx(6)  # 4 columns of 3 mm apart: each 6 mm from the middle
    assert centre_spread(maps[:1].repeat(3, axis=0), grid) == 0
    assert np.isnan(centre_spread(-maps, grid))
