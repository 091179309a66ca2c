"""Occlusion against captum, by hand, and at its place."""

import math

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as Captum
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.occlusion import Occlusion
from tests.explainers.nets import Flat, Linear


class Weighted(nn.Module):
    """A linear model: its logit is the sum of the image times `weight` (*space)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("axes", [2, 3])
def test_equals_captum_once_spread_over_the_windows(axes: int) -> None:
    model, x = Flat(axes).eval(), torch.randn(2, 1, *[16] * axes)
    ours = explain(model, x, Occlusion(window=4, stride=2), targets=[2, 0], layer="conv").evidence[:, 0]
    spread, covered = torch.zeros(2, *[16] * axes), torch.zeros([16] * axes)
    for index in np.ndindex(*ours.shape[1:]):
        window = tuple(slice(2 * i, 2 * i + 4) for i in index)
        spread[(slice(None), *window)] += ours[(slice(None), *index)].reshape(2, *[1] * axes)
        covered[window] += 1
    mean = x.mean(dim=tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
    theirs = Captum(model).attribute(x, (1, *[4] * axes), (1, *[2] * axes), mean, target=torch.tensor([2, 0]))
    torch.testing.assert_close(spread / covered, theirs[:, 0].float(), rtol=1e-3, atol=1e-5)


def test_by_hand() -> None:
    """Four windows of a linear model: each drop is what the weights give to what was hidden."""
    weight = torch.arange(16.0).reshape(4, 4)
    x = torch.ones(1, 1, 4, 4)
    explained = explain(Weighted(weight), x, Occlusion(window=2, stride=2, hidden=-1.0), targets=1)
    assert explained.evidence[0, 0].tolist() == [[2 * 10.0, 2 * 18.0], [2 * 42.0, 2 * 50.0]]
    assert explained.unit == "score drop"
    assert "windows of 2 x 2 cells" in explained.notes
    assert "hidden cells become -1" in explained.notes


@pytest.mark.parametrize("space", [(10, 13), (5, 9, 16)])
def test_each_number_stands_at_its_windows_centre_and_no_cell_is_left_out(space: tuple[int, ...]) -> None:
    """One cell counts at a time: it is seen by those windows only whose centre is within half a window of it."""
    method = Occlusion(window=4, stride=3, hidden=0.0)
    for cell in [(0,) * len(space), tuple(n - 1 for n in space), tuple(n // 2 for n in space)]:
        weight = torch.zeros(space)
        weight[cell] = 1
        explained = explain(Weighted(weight), torch.ones(1, 1, *space), method, targets=1)
        drops, place = explained.evidence[0, 0], explained.alignment
        assert drops.max() == 1
        for index in np.ndindex(*drops.shape):
            centre = [o + s * i for o, s, i in zip(place.offset, place.stride, index, strict=True)]
            near = all(abs(c - at) < 2 for c, at in zip(centre, cell, strict=True))
            assert drops[index] == float(near)
            position = explained.grids[0].position(index)
            np.testing.assert_allclose(position, explained.input_grids[0].position(centre))


def test_windows_reach_over_both_ends_alike() -> None:
    explained = explain(Weighted(torch.ones(10, 8)), torch.ones(1, 1, 10, 8), Occlusion(4, 4, hidden=0.0), targets=1)
    assert explained.alignment.offset == (0.5, 1.5)
    assert explained.evidence[0, 0].tolist() == [[12, 12], [16, 16], [12, 12]]  # 3, 4 and 3 rows of 4


def test_default_windows_are_shares_of_each_axis() -> None:
    plane = explain(Weighted(torch.ones(64, 32)), torch.ones(1, 1, 64, 32), "occlusion", targets=1)
    assert plane.alignment.stride == (4, 2)
    assert math.prod(plane.alignment.shape) == 225  # as its costs say
    volume = explain(Weighted(torch.ones(8, 16, 16)), torch.ones(1, 1, 8, 16, 16), "occlusion", targets=1)
    assert volume.alignment.shape == (7, 7, 7)


def test_progress_and_budget() -> None:
    told: list[tuple[int, int]] = []
    batches: list[int] = []
    model = Linear().eval()
    model.register_forward_pre_hook(lambda m, args: batches.append(len(args[0])) or None)
    explain(model, torch.randn(3, 1, 16, 16), Occlusion(4, 4), 0, budget=5, progress=lambda *at: told.append(at))
    assert told == [(5, 16), (10, 16), (15, 16), (16, 16)]
    assert max(batches) == 5


@pytest.mark.parametrize("settings", [{"window": 0}, {"stride": (1, 0)}, {"hidden": "black"}])
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        Occlusion(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"window": 2, "stride": 3}, {"window": (2, 2, 2)}])
def test_windows_that_do_not_fit_the_image(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        explain(Linear().eval(), torch.randn(1, 1, 16, 16), Occlusion(**settings), 0)  # type: ignore[arg-type]
