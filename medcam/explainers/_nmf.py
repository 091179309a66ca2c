"""Non-negative matrix factorisation: a matrix as a sum of few non-negative patterns, the same each time."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Values = npt.NDArray[np.float64]

ROUNDS = 300
"""Always as many: where the end is decided by the data, a matrix a little different ends elsewhere."""
SWEEPS = 3
"""Over the patterns of one factor before the other's turn: cheap beside what comes before them."""
TINY = 1e-12
RANK = 1e-6
"""Share of the largest singular value below which there is nothing but rounding of 32 bits."""


def factorised(matrix: Tensor, patterns: int, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """Non-negative W (N, P) and H (P, D), the strongest pattern first, whose product comes close to `matrix` (N, D).

    The squared error is lowered pattern by pattern, each to its least given the others (Cichocki and Phan 2009), since
    multiplicative updates need many times the rounds. It begins with the double singular value decomposition of
    Boutsidis and Gallopoulos 2008, so that nothing is left to chance. Nothing is filled up on the way and nothing
    stops it, so that a matrix a little different has patterns a little different.

    It runs in 64 bits on the processor, whatever device the matrix lies on.

    Args:
        matrix: not negative.
        patterns: how many; those that the matrix does not have are zero.
    """
    values = matrix.detach().cpu().double().numpy()
    size = max(float(values.max()), 1e-300)
    values = values / size
    w, h = _start(values, min(patterns, *values.shape))  # (P, N) and (P, D)
    for _ in range(rounds):
        w = _improved(w, h @ values.T, h @ h.T)
        h = _improved(h, w @ values, w @ w.T)
    order = np.argsort(-w.sum(1) * h.sum(1), kind="stable")
    found = torch.from_numpy(w[order].T * size), torch.from_numpy(h[order])
    return found[0].to(matrix.device), found[1].to(matrix.device)


def _improved(factor: Values, product: Values, gram: Values) -> Values:
    """Each row of a factor (P, N) in turn to its best, the other rows and the other factor left alone.

    Args:
        product: (P, N), the other factor times the matrix.
        gram: (P, P), the other factor's products with itself.
    """
    squares = gram.diagonal()[:, None]
    there = squares > TINY
    best = np.where(there, product / np.maximum(squares, TINY), factor)  # of a row that is alone
    others = np.where(there, gram / np.maximum(squares, TINY), 0)
    np.fill_diagonal(others, 0)
    rows = factor.copy()
    for pattern in [*range(len(rows))] * SWEEPS:
        np.maximum(best[pattern] - others[pattern] @ rows, 0, out=rows[pattern])
    return rows


def _start(matrix: Values, patterns: int) -> tuple[Values, Values]:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    w, h = np.zeros((patterns, matrix.shape[0])), np.zeros((patterns, matrix.shape[1]))
    for pattern in range(int((values[:patterns] > RANK * values[0]).sum())):
        # of a singular pair the signs are arbitrary: the half with more in it is taken
        halves = [(np.maximum(sign * left[:, pattern], 0), np.maximum(sign * right[pattern], 0)) for sign in (1, -1)]
        sizes = [(float(np.linalg.norm(u)), float(np.linalg.norm(v))) for u, v in halves]
        more = int(sizes[1][0] * sizes[1][1] > sizes[0][0] * sizes[0][1])
        (u, v), (of_u, of_v) = halves[more], sizes[more]
        share = np.sqrt(values[pattern] * of_u * of_v)
        w[pattern], h[pattern] = share * u / max(of_u, TINY), share * v / max(of_v, TINY)
    return w, h
