"""The first component by iteration is that of numpy's singular value decomposition, also where others are as strong."""

import numpy as np
import pytest
import torch

from medcam.explainers._principal import principal

CELLS, CHANNELS = 10 * 10, 120


def features(singular: np.ndarray, count: int = 3, seed: int = 0) -> torch.Tensor:
    """(count, CHANNELS, 10, 10) with these singular values."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        left = np.linalg.qr(random.normal(size=(CHANNELS, CELLS)))[0]
        right = np.linalg.qr(random.normal(size=(CELLS, CELLS)))[0]
        made.append((left * singular) @ right.T)
    return torch.tensor(np.stack(made), dtype=torch.float32).reshape(count, CHANNELS, 10, 10)


SPECTRA = {
    "falling": 0.8 ** np.arange(CELLS),
    "two of one strength": np.r_[1.0, 0.9999, np.full(CELLS - 2, 0.1)],
    "flat": np.linspace(1, 0.98, CELLS),
    "one alone": np.r_[1.0, np.zeros(CELLS - 1)],
}


@pytest.mark.parametrize("name", SPECTRA)
def test_equals_numpy_up_to_sign(name: str) -> None:
    x = features(SPECTRA[name])
    maps, share = principal(x, False)
    for one, of_it, taken in zip(x.flatten(2).double().numpy(), maps.flatten(1).double().numpy(), share, strict=True):
        _, values, right = np.linalg.svd(one, full_matrices=False)
        expected = values[0] * right[0]
        error = min(np.abs(of_it - expected).max(), np.abs(of_it + expected).max())
        assert error < 2e-4 * np.abs(expected).max()
        assert float(taken) == pytest.approx(values[0] ** 2 / (values**2).sum(), rel=1e-5)


def test_what_has_not_settled_leaves_the_others_alone() -> None:
    flat, falling = features(SPECTRA["flat"], 1), features(SPECTRA["falling"], 1)
    together = principal(torch.cat([flat, falling]), False)[0]
    for row, one in enumerate((flat, falling)):
        torch.testing.assert_close(together[row].abs(), principal(one, False)[0][0].abs(), rtol=1e-4, atol=1e-5)
