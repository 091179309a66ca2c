"""Where cells are after reshaping: tensors whose values are places, moved about by real operations."""

import contextlib
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.explainers._alignment import align
from medcam.explainers._trace import trace


class Moves(nn.Module):
    """Moves cells about and computes nothing, so that what arrives in a cell is its place."""

    def __init__(self, move) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.move, self.last = move, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.move(x))


def places(*space: int) -> Tensor:
    """(2, axes, *space): each pixel holds its own index along each axis."""
    index = torch.stack(torch.meshgrid(*(torch.arange(float(size)) for size in space), indexing="ij"))
    return index.expand(2, *index.shape)


def assert_cells_are_where_they_say(move, *space: int, averaged: bool = False) -> None:  # type: ignore[no-untyped-def]
    model, x = Moves(move).eval(), places(*space)
    arrangement, alignment = align(model, x, trace(model, x).call("last", 0), "output")
    assert alignment.how == "composed"
    assert alignment.slack == 0
    maps = arrangement.rows(model(x))  # (2, axes or several times axes, *cells)
    maps = maps.unflatten(1, (-1, len(space))).mean(1) if averaged else maps
    for axis in range(len(space)):
        for cell in range(alignment.shape[axis]):
            here = maps[:, axis].select(1 + axis, cell)
            there = alignment.offset[axis] + alignment.stride[axis] * cell
            torch.testing.assert_close(here, torch.full_like(here, there))


def windows(x: Tensor, size: int, shift: int) -> Tensor:
    """Swin's way, with nothing done in the windows: pad, roll, partition, reverse, roll back, crop."""
    b, c, h, w = x.shape
    x = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 0, -w % size, 0, -h % size))
    high, wide = x.shape[1:3]
    x = torch.roll(x, (-shift, -shift), dims=(1, 2))
    x = x.view(b, high // size, size, wide // size, size, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, size * size, c)
    x = x.view(-1, size, size, c).view(b, high // size, wide // size, size, size, c).permute(0, 1, 3, 2, 4, 5)
    x = torch.roll(x.reshape(b, high, wide, c), (shift, shift), dims=(1, 2))
    return x[:, :h, :w].contiguous()


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("space", [(16, 24), (13, 18), (4, 8)])
def test_windows_and_back(space: tuple[int, int], shift: int) -> None:
    assert_cells_are_where_they_say(lambda x: windows(x, 4, shift), *space)


def test_pixels_of_patches_become_channels() -> None:
    """As Swin merges patches: four places in a cell, whose centre is its place."""

    def merged(x: Tensor) -> Tensor:
        return torch.cat([x[:, :, i::2, j::2] for i, j in itertools.product(range(2), range(2))], dim=1)

    assert_cells_are_where_they_say(merged, 8, 12, averaged=True)
    assert_cells_are_where_they_say(lambda x: merged(merged(x)), 8, 12, averaged=True)


@pytest.mark.parametrize("space", [(8, 12), (4, 8, 12)])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (5, 0), (2, 3)])
def test_tokens_between_tokens_without_a_place(space: tuple[int, ...], before: int, after: int) -> None:
    def tokens(x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        extra = x.new_full((1, 1, x.shape[2]), -100).expand(len(x), -1, -1)
        x = torch.cat([extra.expand(-1, before, -1), x], dim=1)
        return torch.cat([x, extra.expand(-1, after, -1)], dim=1)

    assert_cells_are_where_they_say(tokens, *space)
    assert_cells_are_where_they_say(lambda x: tokens(x).transpose(1, 2), *space)
    last, cells = -after or None, math.prod(space)
    assert_cells_are_where_they_say(lambda x: tokens(x)[:, before:last].transpose(1, 2).unflatten(2, space), *space)
    assert_cells_are_where_they_say(lambda x: tokens(x).split([before, cells, after], dim=1)[1], *space)


def test_one_class_token_behind_another() -> None:
    def twice(x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        one = x.new_zeros(1, 1, x.shape[2]).expand(len(x), -1, -1)
        return torch.cat([one, torch.cat([one, x], dim=1)[:, :]], dim=1)

    assert_cells_are_where_they_say(twice, 8, 12)


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda x: torch.roll(x, 1, dims=2), id="rolled and never rolled back"),
        pytest.param(lambda x: x.unflatten(2, (-1, 4)).mean(2), id="mean over windows"),
        pytest.param(
            lambda x: x.unflatten(2, (-1, 4)).transpose(2, 3).flatten(2, 3), id="windows put together crosswise"
        ),
    ],
)
def test_a_place_that_is_lost_is_refused_or_said_to_be_measured(move) -> None:  # type: ignore[no-untyped-def]
    """Never a silently wrong place."""
    model, x = Moves(move).eval(), places(8, 12)
    with contextlib.suppress(ExplainError):
        assert align(model, x, trace(model, x).call("last", 0), "output")[1].how != "composed"


def test_tokens_cut_within_the_patches_are_refused() -> None:
    def cut(x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([x[:, :1] * 0, x], dim=1)[:, 3:]

    model = Moves(cut).eval()
    with pytest.raises(ExplainError, match="no-spatial-axes"):
        explain(nn.Sequential(model, nn.Flatten(), nn.Linear(188, 2)), places(8, 12), layer="0.last")
