"""Random fields with a correlation length: what makes tissue look like tissue and noise look like noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth(field: Field, passes: int, axes: tuple[int, ...]) -> Field:
    """Binomial smoothing (1 2 1)/4 along `axes`; n passes are a Gaussian of sqrt(n / 2) cells. Edges repeat."""
    for axis in axes:
        field = np.moveaxis(field, axis, 0)
        for _ in range(passes):
            padded = np.concatenate([field[:1], field, field[-1:]])
            field = (padded[:-2] + padded[2:]) * np.float32(0.25) + padded[1:-1] * np.float32(0.5)
        field = np.moveaxis(field, 0, axis)
    return field


def enlarge(field: Field, factor: int, axes: tuple[int, ...]) -> Field:
    """Linear interpolation onto a grid `factor` times finer along `axes` (cell centres stay in place, edges repeat)."""
    for axis in axes:
        length = field.shape[axis]
        at = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
        low = np.minimum(at.astype(int), length - 2)
        weight = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(field.ndim)])
        field = field.take(low, axis) * (1 - weight) + field.take(low + 1, axis) * weight
    return field


def correlated(rng: np.random.Generator, shape: tuple[int, ...], passes: int, axes: tuple[int, ...]) -> Field:
    """Gaussian noise of zero mean and unit variance, smoothed by `passes` binomial passes along `axes`."""
    field = smooth(rng.standard_normal(shape, dtype=np.float32), passes, axes)
    # white noise under (1 2 1)/4 applied n times keeps the variance sum(kernel ** 2) = C(4n, 2n) / 16 ** n per axis
    kernel = np.ones(1)
    for _ in range(passes):
        kernel = np.convolve(kernel, [0.25, 0.5, 0.25])
    return field / np.float32(np.sqrt(np.sum(kernel**2)) ** len(axes))
