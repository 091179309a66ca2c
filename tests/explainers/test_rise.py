"""RISE in closed form, mask by mask as in the paper, and its own word about chance."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import Explained, explain
from medcam.explainers.rise import RISE, Sums
from tests.explainers.nets import Linear


def test_closed_form_of_a_linear_model_and_every_binary_mask() -> None:
    """The paper's map is p sum_{j != i} w_j x_j + w_i x_i for independent cells, p = 1/2; the slope is w_i x_i."""
    share = torch.tensor([3.0, -1.0, 0.5, 2.0, 0.0])  # w_i x_i
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)))  # (32, 5)
    scores = masks @ share + 7
    sums = Sums(scores[:1].reshape(1, 1))
    sums.add(masks[:20], scores[:20].reshape(-1, 1, 1))
    sums.add(masks[20:], scores[20:].reshape(-1, 1, 1))
    ours = sums.slope()[0, 0]
    torch.testing.assert_close(ours, share)
    papers = (scores[:, None] * masks).mean(0) / 0.5  # equation 6
    torch.testing.assert_close(papers, 7 + 0.5 * (share.sum() - share) + share)
    torch.testing.assert_close(papers, scores.mean() + (1 - 0.5) * ours)
    torch.testing.assert_close(sums.mean(0.5)[0, 0], papers)


def masks_by_the_paper(
    count: int, cells: tuple[int, ...], space: tuple[int, ...], keep: float, seed: int, pairs: bool
) -> np.ndarray:
    """Section 3.2: small binary grids, enlarged linearly to one cell more than the image, cut out at random.

    Of pairs the second is the opposite of the first, which of cells seen by halves is as likely.
    """
    generator = torch.Generator().manual_seed(seed)
    masks: list[np.ndarray] = []
    for index in range(count):
        if pairs and index % 2:
            masks.append(1 - masks[-1])
            continue
        grid = (torch.rand(cells, generator=generator) < keep).double().numpy()
        for axis, (number, length) in enumerate(zip(cells, space, strict=True)):
            step = math.ceil(length / number)
            large = (number + 1) * step
            at = (np.arange(large) + 0.5) * number / large - 0.5
            grid = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, grid)
        for axis, (number, length) in enumerate(zip(cells, space, strict=True)):
            shift = int(torch.randint(math.ceil(length / number), (), generator=generator))
            grid = np.take(grid, np.arange(shift, shift + length), axis)
        masks.append(grid)
    return np.stack(masks)


@pytest.mark.parametrize(("axes", "cells"), [(2, 4), (3, (3, 2, 4))])
@pytest.mark.parametrize("keep", [0.5, 0.4])
@pytest.mark.parametrize("of", ["probability", "logit"])
def test_equation_6_of_the_paper_mask_by_mask(axes: int, cells: int | tuple[int, ...], keep: float, of: str) -> None:
    """1 / (E[M] N) times the sum of f(I x M_i) M_i."""
    space = (16, 12, 20)[:axes]
    model, x = Linear(axes).eval(), torch.randn(2, 1, *space)
    method = RISE(masks=21, cells=cells, keep=keep, hidden=0.0, seed=5, of=of)  # type: ignore[arg-type]
    ours = explain(model, x, method, targets="all", budget=5).evidence
    every = (cells,) * axes if isinstance(cells, int) else cells
    masks = masks_by_the_paper(21, every, space, keep, 5, pairs=keep == 0.5)
    assert masks.min() >= 0
    assert masks.max() <= 1
    for sample in range(2):
        total = np.zeros((3, *space))
        for mask in masks:
            logits = model(x[sample : sample + 1] * torch.from_numpy(mask).float())[0].detach().double()
            score = logits.softmax(0) if of == "probability" else logits
            total += score.numpy().reshape(3, *[1] * axes) * mask
        torch.testing.assert_close(ours[sample].double(), torch.from_numpy(total / (keep * 21)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("axes", "cells"), [(2, 4), (3, (3, 2, 4))])
def test_the_slope_is_the_papers_map_without_its_constant(axes: int, cells: int | tuple[int, ...]) -> None:
    space = (16, 12, 20)[:axes]
    model, x = Linear(axes).eval(), torch.randn(2, 1, *space)
    method = RISE(masks=21, cells=cells, keep=0.4, hidden=0.3, seed=5, shows="slope")
    ours = explain(model, x, method, targets="all", budget=4).evidence
    every = (cells,) * axes if isinstance(cells, int) else cells
    masks = masks_by_the_paper(21, every, space, 0.4, 5, pairs=False)
    for sample in range(2):
        shown, scores = np.zeros((3, *space)), []
        for mask in masks:
            seen = torch.from_numpy(mask).float()
            scores.append(model(x[sample : sample + 1] * seen + 0.3 * (1 - seen))[0].detach().double().numpy())
            shown += scores[-1].reshape(3, *[1] * axes) * mask
        papers = shown / 21 / masks.mean(0)  # equation 6, by the masks' own mean
        middle = np.mean(scores, axis=0).reshape(3, *[1] * axes)
        expected = (papers - middle) * masks.mean(0) / masks.var(0)
        torch.testing.assert_close(ours[sample], torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shows", ["mean", "slope"])
def test_the_masks_are_the_same_whatever_the_budget(shows: str) -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    method = RISE(masks=30, cells=3, shows=shows)  # type: ignore[arg-type]
    some, one = (explain(model, x, method, targets=1, budget=budget).evidence for budget in (16, 7))
    torch.testing.assert_close(some, one, rtol=1e-4, atol=1e-6)


class Patch(nn.Module):
    """The sum of the image over a window, as the logit of class 1."""

    def __init__(self, window: tuple[slice, ...]) -> None:
        super().__init__()
        self.window = window
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.scale * x[(slice(None), slice(None), *self.window)].flatten(1).sum(1)
        return torch.stack([torch.zeros_like(z), z], dim=1)


def test_a_faint_finding_on_a_high_score_is_found_by_the_papers_map() -> None:
    """Masks that show some cells more often than others would draw themselves, the score times how often."""

    class Faint(Patch):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 168 + self.scale * torch.tensor([0.0, 2.0])  # a probability of 0.88 to 0.95

    window = (slice(10, 22), slice(30, 44))
    x = torch.rand(1, 1, 56, 56, generator=torch.Generator().manual_seed(0)) + 0.5
    model = Faint(window)
    inside = torch.zeros(56, 56, dtype=torch.bool)
    inside[window] = True
    for shows in ("mean", "slope"):
        method = RISE(masks=1000, hidden=0.0, shows=shows)  # type: ignore[arg-type]
        explained = explain(model, x, method, targets=1)
        strongest = explained.evidence[0, 0].flatten().topk(int(inside.sum())).indices
        assert inside.flatten()[strongest].float().mean() > 0.8, shows


@pytest.mark.parametrize("axes", [2, 3])
def test_what_the_model_looks_at_is_found(axes: int) -> None:
    """In a volume or a clip as in an image: the hottest cell lies in the window, and its number is the drop."""
    window = (slice(2, 5), slice(12, 18), slice(4, 10))[3 - axes :]
    space = (8, 24, 24)[3 - axes :]
    x = torch.ones(1, 1, *space)
    method = RISE(masks=1500, cells=4, hidden=0.0, shows="slope")
    evidence = explain(Patch(window), x, method, targets=1).evidence[0, 0]
    peak = np.unravel_index(int(evidence.argmax()), space)
    assert all(part.start <= at < part.stop for at, part in zip(peak, window, strict=True))
    whole = math.prod(part.stop - part.start for part in window)
    assert 0.7 * whole < evidence.max() < 1.1 * whole


@pytest.mark.parametrize("shows", ["mean", "slope"])
def test_probability_or_logit(shows: str) -> None:
    """By default the one for the mean and the other for the slope; of what is no class only the scalar itself."""
    x, model = torch.rand(1, 1, 12, 12), Patch((slice(0, 12), slice(0, 4)))

    def told(targets: object, **settings: object) -> Tensor:
        method = RISE(masks=40, cells=2, hidden=0.0, shows=shows, **settings)  # type: ignore[arg-type]
        return explain(model, x, method, targets=targets).evidence  # type: ignore[call-overload, no-any-return]

    probability = told(lambda output: output.softmax(1)[:, 1], of="logit")
    torch.testing.assert_close(told(1, of="probability"), probability)
    assert not torch.allclose(told(1, of="logit"), probability, rtol=0.1)
    assert torch.equal(told(1), told(1, of="probability" if shows == "mean" else "logit"))
    with pytest.raises(UsageError, match="bad-setting"):
        told(lambda output: output[:, 1], of="probability")


def test_what_it_declares_follows_the_settings() -> None:
    mean, logit, slope = RISE(), RISE(of="logit"), RISE(shows="slope")
    assert (mean.unit, mean.signed, mean.scales, mean.of) == ("arbitrary", False, False, "probability")
    assert (logit.unit, logit.signed, logit.scales) == ("arbitrary", True, True)
    assert (slope.unit, slope.signed, slope.scales, slope.of) == ("score drop", True, True, "logit")


def told(note: str) -> tuple[float, float]:
    found = re.fullmatch(
        r"the halves of the masks agree with r = (.*); the standard error of a cell is ([^:]*)(:.*)?", note
    )
    assert found is not None
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("shows", ["mean", "slope"])
def test_the_error_that_is_told_is_the_one_there_is(shows: str) -> None:
    """Against the standard deviation of maps from twelve other seeds; and more masks agree better."""
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)

    def run(masks: int, seed: int = 0) -> Explained:
        return explain(model, x, RISE(masks=masks, cells=4, seed=seed, shows=shows), targets=1)  # type: ignore[arg-type]

    runs = [run(64, seed) for seed in range(12)]
    errors = [told(each.notes[-1])[1] for each in runs]
    there = float(torch.stack([each.evidence for each in runs]).std(0).square().mean().sqrt())
    assert 0.8 < np.sqrt(np.mean(np.square(errors))) / there < 1.25
    few, many = (told(run(masks).notes[-1]) for masks in (64, 1024))
    assert many[0] > few[0]
    assert many[1] < few[1] / 2.5  # a quarter, but for chance


def test_progress_is_told_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    explain(Linear().eval(), torch.randn(1, 1, 16, 16), RISE(masks=20), 0, progress=lambda *at: seen.append(at))
    assert seen == [(16, 20), (20, 20)]


@pytest.mark.parametrize(
    "settings",
    [{"masks": 1}, {"keep": 1.0}, {"cells": 0}, {"cells": (3, 0)}, {"hidden": "black"}, {"shows": "all"}],
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        RISE(**settings)  # type: ignore[arg-type]


def test_cells_for_another_number_of_axes_are_refused() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        explain(Linear().eval(), torch.randn(1, 1, 16, 16), RISE(cells=(2, 2, 2)), 0)
