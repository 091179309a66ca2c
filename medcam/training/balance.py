"""Which examples an epoch shows and in which order: a function of the seed and the epoch alone, so a run can go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from medcam.models._bundle import HeadKind
from medcam.training.settings import Balance

Indices = npt.NDArray[np.int64]


def classes(targets: npt.NDArray[np.float32], head: HeadKind) -> list[Indices]:
    """The examples of each class that occurs: with several labels, one class per label and one without any of them.

    An example with two labels belongs to both of their classes.

    Args:
        targets: (N, K), one-hot or multi-hot.
    """
    columns = targets > 0.5  # (N, K)
    if head != "softmax":
        columns = np.concatenate([~columns.any(axis=1, keepdims=True), columns], axis=1)
    return [np.nonzero(column)[0] for column in columns.T if column.any()]


def order(
    targets: npt.NDArray[np.float32],
    patients: Sequence[str],
    head: HeadKind,
    balance: Balance,
    seed: int,
    epoch: int,
    count: int | None = None,
) -> Indices:
    """Indices of the examples of one epoch.

    With balance "none" each example comes once. With "image" the classes come equally often, and within a class its
    images; with "patient" the classes equally often, within a class its patients, and of a patient the images of that
    class by turns: a patient with a hundred frames then counts no more than one with two. The rarer come several times,
    and nothing comes again before all of its kind have come (class-aware sampling, Shen et al., ECCV 2016).

    Args:
        targets: (N, K).
        patients: (N,) whom each example shows.
        count: how many; as many as there are if None.

    Returns:
        Indices: (count,).
    """
    random = np.random.default_rng((seed, epoch))
    count = len(targets) if count is None else count
    groups = [np.arange(len(targets))] if balance == "none" else classes(targets, head)
    chosen = []
    for members, share in zip(groups, _shares(len(groups), count, random), strict=True):
        pools = _by_patient(members, patients) if balance == "patient" else [members]
        for pool, times in zip(pools, _shares(len(pools), share, random), strict=True):
            rounds = [random.permutation(pool) for _ in range(max(1, -(-times // len(pool))))]
            chosen.append(np.concatenate(rounds)[:times])
    return random.permutation(np.concatenate(chosen))


def _by_patient(members: Indices, patients: Sequence[str]) -> list[Indices]:
    _, owner, counts = np.unique([patients[index] for index in members], return_inverse=True, return_counts=True)
    return np.split(members[np.argsort(owner, kind="stable")], np.cumsum(counts)[:-1])


def _shares(groups: int, count: int, random: np.random.Generator) -> Indices:
    """`count` in equal parts; which of them are one larger is left to chance."""
    return count // groups + (random.permutation(groups) < count % groups)


class Batches(Sampler[list[int]]):
    """Batches of the epoch's examples; each process takes its share of every batch, so that they learn together.

    The last batch is filled up with the epoch's first examples: all batches are equally large.

    Args:
        targets, patients, head, balance, seed, count: see `order`.
        batch: examples of a step, over all processes together; a multiple of `processes`.
        rank: which process this is.
    """

    def __init__(
        self,
        targets: npt.NDArray[np.float32],
        patients: Sequence[str],
        head: HeadKind,
        balance: Balance,
        seed: int,
        batch: int,
        count: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self._of_epoch = (targets, patients, head, balance, seed)
        self._count = len(targets) if count is None else count
        self._batch, self._rank, self._processes = batch, rank, processes
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._count // self._batch)

    def __iter__(self) -> Iterator[list[int]]:
        chosen = order(*self._of_epoch, self._epoch, self._count)
        filled = np.resize(chosen, len(self) * self._batch).reshape(len(self), self._batch)
        yield from filled[:, self._rank :: self._processes].tolist()
