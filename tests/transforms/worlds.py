"""Planted points: an image with one bright blob at a known place, seen through a transform."""

import numpy as np
from numpy.typing import NDArray

from medcam.grid import Grid
from medcam.study import Pixels
from medcam.transforms import prepare


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation, sometimes with a mirror, as the columns of orthogonal axes."""
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return axes


def blob(shape: tuple[int, ...], centre: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Gaussian of height 1 around a fractional index."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return np.exp(-0.5 * (((index - centre) / sigma) ** 2).sum(-1))


def centroid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The centre of mass as a fractional index."""
    index = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)
    return (index * values[..., None]).reshape(-1, values.ndim).sum(0) / values.sum()


def error_cells(pixels: Pixels, planted: NDArray[np.float64], transform: object, row: int = 0) -> float:
    """How far, in output cells along the worst axis, the brightest blob lies from the planted source index."""
    prepared = prepare(pixels, transform)
    seen = prepared.tensor[row].mean(0).double().numpy()
    seen = np.clip(seen - 0.3, 0, None)  # without background and edges of the window
    grid = prepared.grids[row]
    assert grid.shape == seen.shape
    expected = grid.index(pixels.grid.position(planted))
    return float(np.abs(centroid(seen) - expected).max())


def oblique(shape: tuple[int, ...], spacing: NDArray[np.float64], rng: np.random.Generator) -> Grid:
    """A grid in patient space at any angle."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) * spacing
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return Grid.of(shape, affine, space="patient", mm_known=True, frame_of_reference="1.2.3")
