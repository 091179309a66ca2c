"""Volumes of formats that keep any axis order: turned so that slices go up, rows to the back, columns to the left."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.errors import InputError
from medcam.grid import Grid, Matrix

SHEAR = 1e-3
"""Cosine between two axes from which a volume counts as sheared; single-precision headers stay well below."""


def upright(shape: Sequence[int], affine: Matrix) -> dict[str, Any]:
    """How to turn an array (i, j, k) with `affine` to RAS mm into one (d, h, w) along Superior, Posterior, Left.

    The axes are permuted and flipped to the nearest, never resampled: the affine says where they really run.

    Returns:
        JSON-ready facts: `shape` and `affine` of the turned array, `order` of the axes and which of them to `flip`.

    Raises:
        InputError: the affine is not finite, flat or sheared.
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or steps.min() <= 0:
        raise InputError("no-geometry", "the directions or distances of the axes are not usable")
    directions = affine[:3, :3] / steps
    cosines = directions.T @ directions - np.eye(3)
    if np.abs(cosines).max() > SHEAR:
        worst = np.degrees(np.arcsin(np.abs(cosines).max().clip(0, 1)))
        raise InputError("gantry-tilt", f"the axes are {worst:.1f} degrees off a right angle")
    wanted = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])  # S, P, L in RAS
    likeness = wanted @ directions  # (wanted axis, stored axis)
    order = _best_match(np.abs(likeness))
    flip = [bool(likeness[row, column] < 0) for row, column in enumerate(order)]
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for row, column in enumerate(order):
        turn[column, row] = -1 if flip[row] else 1
        turn[column, 3] = shape[column] - 1 if flip[row] else 0
    turned = affine @ turn
    return {
        "shape": [int(shape[column]) for column in order],
        "affine": turned.tolist(),
        "order": order,
        "flip": flip,
    }


def turned(array: npt.NDArray[Any], facts: Mapping[str, Any]) -> npt.NDArray[Any]:
    """The stored array (i, j, k) as (d, h, w)."""
    return array.transpose(facts["order"])[tuple(slice(None, None, -1 if flip else 1) for flip in facts["flip"])]


def grid(facts: Mapping[str, Any]) -> Grid:
    """The grid of the turned array."""
    return Grid.of(tuple(facts["shape"]), facts["affine"], space="patient", mm_known=True)


def frames(facts: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """For each index along d the slice number in the file."""
    numbers = range(facts["shape"][0])
    return tuple((0, number) for number in (reversed(numbers) if facts["flip"][0] else numbers))


def _best_match(likeness: Matrix) -> list[int]:
    """For each row another column, the likest pair first."""
    chosen = [-1, -1, -1]
    for place in np.argsort(-likeness, axis=None):
        row, column = divmod(int(place), 3)
        if chosen[row] < 0 and column not in chosen:
            chosen[row] = column
    return chosen
