"""Random fields: their size and their correlation are what they claim."""

import numpy as np

from sample_data.texture import correlated, enlarge, smooth


def test_smoothing_an_impulse_gives_binomials() -> None:
    impulse = np.zeros(9, np.float32)
    impulse[4] = 1
    assert np.allclose(smooth(impulse, 2, (0,)) * 16, [0, 0, 1, 4, 6, 4, 1, 0, 0])


def test_correlated_noise_has_unit_variance_and_the_correlation_of_its_kernel() -> None:
    field = correlated(np.random.default_rng(0), (400, 400), 2, (0, 1))[8:-8, 8:-8]
    assert abs(field.std() - 1) < 0.03
    neighbours = (field[1:] * field[:-1]).mean()
    # (1 4 6 4 1) with itself shifted by one: (4 + 24 + 24 + 4) / (1 + 16 + 36 + 16 + 1)
    assert abs(neighbours - 56 / 70) < 0.03


def test_enlarging_keeps_a_ramp_a_ramp_at_the_same_place() -> None:
    coarse = np.arange(6, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    fine = enlarge(coarse, 4, (0,))
    centres = (np.arange(24) + 0.5) / 4 - 0.5  # of the fine cells, counted in coarse ones
    assert np.allclose(fine[:, 1], np.clip(centres, 0, 5))
