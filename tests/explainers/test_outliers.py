"""Outlier tokens: planted ones are found, said, and repaired; ordinary images have none."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers._outliers import outlying, repaired
from tests.explainers.nets import Linear
from tests.explainers.transformers import Tokens

SPACES = {2: (16, 24), 3: (8, 12, 16)}


class Planted(nn.Module):
    """Behind a block, one patch's token of the second sample on is fifty times as large."""

    def __init__(self, block: nn.Module, at: int) -> None:
        super().__init__()
        self.block, self.at = block, at

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x).clone()
        x[1:, self.at] = 50 * x[1:, self.at]
        return x


def planted(axes: int) -> tuple[Tokens, tuple[int, ...]]:
    model = Tokens(axes, extras=2, space=SPACES[axes]).eval()
    cells = [size // 4 for size in SPACES[axes]]
    place = tuple(size // 2 for size in cells)
    flat = int(torch.arange(torch.Size(cells).numel()).reshape(cells)[place])
    model.blocks[1] = Planted(model.blocks[1], 2 + flat)
    return model, place


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("method", ["hirescam", "legrad", "attention_rollout"])
def test_a_planted_token_is_found_where_it_is(axes: int, method: str) -> None:
    model, place = planted(axes)
    explained = explain(model, torch.randn(2, 1, *SPACES[axes]), method, 0, layer="blocks.2.norm1")
    assert explained.outliers is not None
    assert explained.outliers[1].nonzero().tolist() == [list(place)]
    assert not explained.outliers[0].any()
    assert (0, 0) not in explained.flags
    (said,) = explained.flags[1, 0]
    assert f"cell {place} may be bright" in said
    assert "blocks.1" in said


@pytest.mark.parametrize("axes", [2, 3])
def test_the_repaired_map_peaks_where_it_did_without_the_token(axes: int) -> None:
    """Grad-CAM at the block where the token is: its cell outshines all others."""
    model, place = planted(axes)
    images = torch.randn(2, 1, *SPACES[axes])
    with torch.no_grad():
        model.fc.weight.abs_()
    explained = explain(model, images, "gradcam", 0, layer="blocks.1")
    sane = Tokens(axes, extras=2, space=SPACES[axes]).eval()
    sane.fc.load_state_dict(model.fc.state_dict())
    dots = explained.evidence[1, 0].abs()
    assert dots.argmax() == torch.arange(dots.numel()).reshape(dots.shape)[place]
    whole = explained.repaired()
    fixed = whole.evidence[1, 0]
    assert float(fixed.abs().max()) < float(dots.max()) / 5
    around = fixed.abs().argmax()
    assert around != dots.argmax()
    assert whole.flags[1, 0][-1] == f"cell {place} replaced by the median of the neighbours"
    torch.testing.assert_close(whole.evidence[0], explained.evidence[0])
    untouched = torch.ones_like(fixed, dtype=torch.bool)
    untouched[place] = False
    torch.testing.assert_close(fixed[untouched], explained.evidence[1, 0][untouched])
    assert whole.repaired() is whole


def test_repair_by_hand() -> None:
    """Neighbours 1 2 3 4 6 7 8 9 have the median 5; of a corner 2 4 5; an outlier beside is no neighbour."""
    maps = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    bright = maps.clone()
    bright[..., 1, 1] = 1000
    cells = torch.zeros(1, 3, 3, dtype=torch.bool)
    cells[0, 1, 1] = True
    torch.testing.assert_close(repaired(bright, cells), maps)
    cells[0, 0, 0] = True
    fixed = repaired(bright, cells)
    assert fixed[0, 0, 0, 0] == 3  # of 2 and 4
    assert fixed[0, 0, 1, 1] == 6  # of 2 3 4 6 7 8 9


def test_a_whole_corner_of_outliers_looks_further() -> None:
    maps = torch.ones(1, 1, 5, 5)
    maps[..., :2, :2] = 7
    fixed = repaired(maps, (maps > 1)[:, 0])
    torch.testing.assert_close(fixed, torch.ones(1, 1, 5, 5))


def test_the_rule_by_hand() -> None:
    """Median 10, median deviation 1: beyond 10 + 6 x 1.4826 = 18.9 and beyond 30."""
    norms = torch.tensor([[9.0, 11, 9, 11, 10, 9, 11, 29.0], [9.0, 11, 9, 11, 10, 9, 11, 31.0]])
    assert outlying(norms).nonzero().tolist() == [[1, 7]]
    assert not outlying(torch.full((1, 8), 3.0)).any()


def test_ordinary_tokens_and_networks_without_tokens() -> None:
    explained = explain(Tokens().eval(), torch.randn(4, 1, 16, 24), "legrad", 0)
    assert explained.outliers is not None
    assert not explained.outliers.any()
    assert explained.repaired() is explained
    assert explain(Linear().eval(), torch.randn(1, 1, 16, 16)).outliers is None
