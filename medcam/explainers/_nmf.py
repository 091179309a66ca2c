"""Non-negative matrix factorisation: a matrix as a sum of few non-negative patterns, the same each time."""

import torch
from torch import Tensor

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

    Args:
        matrix: not negative.
        patterns: how many; those that the matrix does not have are zero.
    """
    size = matrix.max().double().clamp(min=1e-300)
    matrix = matrix.double() / size
    w, h = _start(matrix, min(patterns, *matrix.shape))  # (P, N) and (P, D)
    for _ in range(rounds):
        w = _improved(w, h @ matrix.T, h @ h.T)
        h = _improved(h, w @ matrix, w @ w.T)
    strength = w.sum(dim=1) * h.sum(dim=1)
    order = strength.argsort(descending=True, stable=True)
    return w[order].T * size, h[order]


def _improved(factor: Tensor, product: Tensor, gram: Tensor) -> Tensor:
    """Each row of a factor (P, N) in turn to its best, the other rows and the other factor left alone.

    Args:
        product: (P, N), the other factor times the matrix.
        gram: (P, P), the other factor's products with itself.
    """
    squares = gram.diagonal()[:, None]
    best = torch.where(squares > TINY, product / squares.clamp(min=TINY), factor)  # of a row that is alone
    others = torch.where(squares > TINY, gram / squares.clamp(min=TINY), 0).fill_diagonal_(0)
    rows = factor.clone()
    for pattern in [*range(len(rows))] * SWEEPS:
        torch.clamp(best[pattern] - others[pattern] @ rows, min=0, out=rows[pattern])
    return rows


def _start(matrix: Tensor, patterns: int) -> tuple[Tensor, Tensor]:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    w, h = matrix.new_zeros(patterns, len(matrix)), matrix.new_zeros(patterns, matrix.shape[1])
    for pattern in range(int((values[:patterns] > RANK * values[0]).sum())):
        # of a singular pair the signs are arbitrary: the half with more in it is taken
        halves = [((sign * left[:, pattern]).clamp(min=0), (sign * right[pattern]).clamp(min=0)) for sign in (1, -1)]
        u, v = max(halves, key=lambda half: float(half[0].norm() * half[1].norm()))
        share = (values[pattern] * u.norm() * v.norm()).sqrt()
        w[pattern], h[pattern] = share * u / u.norm().clamp(min=TINY), share * v / v.norm().clamp(min=TINY)
    return w, h
