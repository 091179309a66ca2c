"""RISE (Petsiuk et al. 2018)."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._alignment import whole
from medcam.explainers._masking import Hidden, Of, check, masked, said, without
from medcam.explainers.base import InputMethod, Located, View
from medcam.findings import Unit

AGREE = 0.5
"""Correlation of the maps of both halves of the masks below which chance decides where a map is hot."""
Shows = Literal["mean", "slope"]
EQUAL = 1e-9
"""Variance below which masks show a cell alike."""


class RISE(InputMethod):
    """The mean score under random masks, those that show the cell; or how far the score drops when it is hidden.

    "mean" is the paper's map: the score of each mask, weighted by how much of the cell it shows, m. It is the mean
    score of all masks, the same everywhere, and on top what the cell adds: look at differences, not at the colour. By
    chance some cells are seen more often, which alone would make them hot; so where `keep` is 1/2 every other mask is
    the opposite of the last, which is as likely, and all cells are seen equally often.

    "slope" has no such constant: the least-squares slope Cov(score, m) / Var(m). The paper's map is in expectation the
    mean score plus Var(m) / E[m] times this. Of masks of 0 and 1 it is the mean score where the cell is seen less that
    where it is hidden, and of a linear model each cell's own share; cells that masks show and hide together share
    theirs.

    All images, targets and channels are asked through the same masks. What chance leaves is in the notes: how the two
    halves of the masks agree, and the standard error that follows. Where no mask changes the score the map is zero.

    Args:
        masks: how many; the paper takes 4000 to 8000, and 3-D needs no fewer. A slope is as good with a quarter.
        cells: of the coarse random masks along each axis, one number or one for each.
        keep: probability that a coarse cell is seen.
        hidden: what hidden cells become: a number, "mean" or "blur". The paper multiplies, so that they become 0,
            which is the mean of its images; here by default each image's own mean.
        of: "probability", which only a class has, or "logit", the explained scalar itself; by default the probability
            for the mean, as in the paper, and the logit for the slope.
        seed: of the masks.
        shows: "mean" or "slope".

    Raises:
        UsageError: "bad-setting", also for the probability of what is no class.

    Source: Petsiuk, Das and Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018,
    arXiv 1806.07421, equation 6.
    """

    name = "rise"
    paper = "Petsiuk et al. 2018, arXiv 1806.07421"
    unit: Unit = "arbitrary"
    signed = False
    family = "perturbation"
    scales = False
    forwards = 4001
    tail_backwards = 0

    def __init__(
        self,
        masks: int = 4000,
        cells: int | Sequence[int] = 7,
        keep: float = 0.5,
        hidden: Hidden = "mean",
        of: Of | None = None,
        seed: int = 0,
        shows: Shows = "mean",
    ) -> None:
        self.shows, self.of = shows, of or ("probability" if shows == "mean" else "logit")
        check(hidden, self.of)
        if shows not in get_args(Shows):
            raise UsageError("bad-setting", f"RISE shows the {' or the '.join(get_args(Shows))}, not {shows!r}.")
        if masks < 4 or not 0 < keep < 1 or min([cells] if isinstance(cells, int) else cells) < 1:
            raise UsageError("bad-setting", "RISE needs four masks at least, some cells, and 0 < keep < 1.")
        self.masks, self.cells, self.keep, self.hidden, self.seed = masks, cells, keep, hidden, seed
        self.forwards, self.scales = masks + 1, self.of == "logit"
        self.signed = shows == "slope" or self.of == "logit"
        if shows == "slope":
            self.unit = "score drop"

    def located(self, view: View) -> Located:
        """The sum of y m / (N E[m]), or Cov(y, m) / Var(m)."""
        x = view.capture.x
        nothing = without(x, self.hidden)
        halves: list[Sums] = []
        done = 0
        for masks in self._chunks(x.shape[2:], view.budget):
            masks = masks.to(x.device)
            asked = [masked(view, sample, nothing[sample], masks, self.of) for sample in range(len(x))]
            scores = torch.stack(asked, dim=1)  # (n, B, K)
            halves = halves or [Sums(scores[0]), Sums(scores[0])]
            second = (torch.arange(done, done + len(masks)) // 2 % 2 == 1).to(x.device)  # opposites in one half
            halves[0].add(masks[~second], scores[~second])
            halves[1].add(masks[second], scores[second])
            done += len(masks)
            view.tick(done, self.masks)
        one, other, both = (self._map(sums) for sums in (*halves, halves[0] + halves[1]))
        return Located(both, whole(x.shape[2:]), (said(self.hidden), _error(one, other)))

    def _map(self, sums: "Sums") -> Tensor:
        return sums.mean(self.keep) if self.shows == "mean" else sums.slope()

    def maps(self, view: View) -> Tensor:
        return self.located(view).evidence

    def _chunks(self, space: Sequence[int], size: int) -> Iterator[Tensor]:
        """Masks (n, *space): coarse cells of 0 and 1, enlarged linearly and cut out at random up to a cell away."""
        axes = len(space)
        wanted = [self.cells] * axes if isinstance(self.cells, int) else list(self.cells)
        if len(wanted) != axes:
            raise UsageError("bad-setting", f"RISE needs cells for {axes} axes, not for {len(wanted)}.")
        coarse = [min(number, length) for number, length in zip(wanted, space, strict=True)]
        pitch = [math.ceil(length / number) for number, length in zip(coarse, space, strict=True)]
        large = [(number + 1) * step for number, step in zip(coarse, pitch, strict=True)]
        generator = torch.Generator().manual_seed(self.seed)
        pairs = self.shows == "mean" and self.keep == 0.5  # a slope gains nothing by them
        seen = torch.zeros(())
        for start in range(0, self.masks, size):
            cut = []
            for index in range(start, min(start + size, self.masks)):  # one by one: the same whatever the budget
                if pairs and index % 2 == 1:
                    cut.append(1 - seen)
                    continue
                seen = (torch.rand(coarse, generator=generator) < self.keep).float()
                shifts = [int(torch.randint(step, (), generator=generator)) for step in pitch]
                for axis, (length, shift) in enumerate(zip(space, shifts, strict=True)):
                    seen = _enlarged(seen, axis, large[axis]).narrow(axis, shift, length)
                cut.append(seen)
            yield torch.stack(cut)


class Sums:
    """Sums over masks of what scores y and masks m, and their products, come to.

    Args:
        origin: (B, K), from where scores are counted: where they are all equal exactly nothing is left.
    """

    def __init__(self, origin: Tensor) -> None:
        self.origin = origin.double()
        self.count = 0
        self.score = self.changes = torch.zeros_like(self.origin)  # (B, K)
        self.mask = self.square = self.both = self.score.new_zeros(())  # (*space) twice, (B, K, *space)

    def add(self, masks: Tensor, scores: Tensor) -> None:
        """Count masks (n, *space) with their scores (n, B, K) in."""
        scores, masks = scores.double() - self.origin, masks.double()
        self.count += len(masks)
        self.score = self.score + scores.sum(0)
        self.changes = self.changes + (scores != 0).sum(0)
        self.mask = self.mask + masks.sum(0)
        self.square = self.square + masks.square().sum(0)
        self.both = self.both + torch.einsum("nbk,n...->bk...", scores, masks)

    def __add__(self, other: "Sums") -> "Sums":
        total = Sums(self.origin)
        for name in ("count", "score", "changes", "mask", "square", "both"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    def mean(self, shown: float) -> Tensor:
        """(B, K, *space): the sum of y m by the count of masks and the mean `shown` of m; 0 where y never changes."""
        axes = [1] * self.mask.ndim
        origin, changes = (each.reshape(*each.shape, *axes) for each in (self.origin, self.changes))
        return torch.where(changes > 0, (self.both + origin * self.mask) / (self.count * shown), 0).float()

    def slope(self) -> Tensor:
        """(B, K, *space): Cov(y, m) / Var(m); 0 where all masks show a cell alike."""
        mean = self.mask / self.count
        variance = self.square / self.count - mean.square()
        score = self.score.reshape(*self.score.shape, *[1] * mean.ndim)
        covariance = (self.both - score * mean) / self.count
        return torch.where(variance > EQUAL, covariance / variance, 0).float()


def _enlarged(values: Tensor, axis: int, size: int) -> Tensor:
    """Linear interpolation along one axis, in the half-pixel convention."""
    moved = values.movedim(axis, -1)
    flat = torch.nn.functional.interpolate(moved.reshape(1, -1, moved.shape[-1]), size=size, mode="linear")
    return flat.reshape(*moved.shape[:-1], size).movedim(-1, axis)


def _error(one: Tensor, other: Tensor) -> str:
    """How far chance reaches, told by the maps (B, K, *space) of the two halves that agree the least."""
    pairs = torch.stack([one, other]).flatten(3).flatten(1, 2).double()  # (2, maps, cells)
    away = pairs - pairs.mean(dim=2, keepdim=True)
    spread = away.square().sum(2).prod(0).sqrt()
    if not bool((spread > 0).all()):
        return "no mask changes the score of some target"
    agree = (away[0] * away[1]).sum(1) / spread
    worst = int(agree.argmin())
    error = float((pairs[0, worst] - pairs[1, worst]).square().mean().sqrt() / 2)
    found = f"the halves of the masks agree with r = {float(agree[worst]):.2f}"
    few = ": too few masks" if float(agree[worst]) < AGREE else ""
    return f"{found}; the standard error of a cell is {error:.2g}{few}"
