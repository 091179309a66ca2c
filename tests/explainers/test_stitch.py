"""Parts of a whole put together: nothing lost, nothing moved."""

import numpy as np
import pytest
import torch

from medcam.errors import ExplainError
from medcam.explainers import Placement, explain, stitch
from medcam.explainers._alignment import Alignment
from medcam.grid import Grid
from tests.explainers.nets import FrameWise, Linear

CELLS = Alignment((4, 4), (4.0, 4.0), (0.0, 0.0), "composed")


def test_tiles_side_by_side() -> None:
    maps = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    whole = Grid.plane((16, 32))
    placed = [Placement((0, 0), (16, 16)), Placement((0, 16), (16, 16))]
    stitched, grid = stitch(maps, placed, CELLS, whole)
    np.testing.assert_array_equal(stitched, np.concatenate([maps[0], maps[1]], axis=1))
    assert grid == whole.rescaled((4, 8), 4.0, 0.0)


def test_weights_of_the_logits_are_kept() -> None:
    """The evidence for a weighted mean of tile logits adds up to it, overlap and odd origins included."""
    model = Linear().eval()
    slide = torch.randn(1, 1, 45, 61)
    whole = Grid.plane((45, 61))
    origins, weights = [(0, 0), (7, 13), (29, 45), (12, 3)], [0.1, 0.2, 0.3, 0.4]
    tiles = torch.cat([slide[:, :, r : r + 16, c : c + 16] for r, c in origins])
    explained = explain(model, tiles, targets=1, grids=[whole.cropped(origin, (16, 16)) for origin in origins])
    placed = [Placement(origin, (16, 16), weight) for origin, weight in zip(origins, weights, strict=True)]
    record = explained.stitched(placed, whole)
    pooled = sum(
        w * (s - model.fc.bias[1].item()) for w, s in zip(weights, explained.scores[:, 0].tolist(), strict=True)
    )
    assert record.evidence.sum() == pytest.approx(pooled, rel=1e-4)
    assert record.input_grid == whole


def test_a_cell_between_cells_is_shared_out() -> None:
    one = np.zeros((2, 4, 4), dtype=np.float32)
    one[1, 1, 1] = 8.0
    placed = [Placement((0, 0), (16, 16)), Placement((1, 2), (16, 16))]
    stitched, grid = stitch(one, placed, CELLS, Grid.plane((32, 32)))
    centre = [float((stitched.sum(1 - axis) * np.arange(stitched.shape[axis])).sum() / 8.0) for axis in (0, 1)]
    expected = [1 + 4 * 1, 2 + 4 * 1]  # of the whole
    assert stitched.sum() == pytest.approx(8.0)
    assert grid.position(centre)[[1, 0]].tolist() == pytest.approx(expected)


def test_mean_of_what_overlaps() -> None:
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)])
    placed = [Placement((0, 0), (16, 16), 1.0), Placement((0, 8), (16, 16), 3.0)]
    stitched, _ = stitch(maps, placed, CELLS, Grid.plane((16, 24)), overlap="mean")
    assert stitched[0].tolist() == [1.0, 1.0, 2.5, 2.5, 3.0, 3.0]


def test_resized_tiles_keep_their_place() -> None:
    """A window of 32 seen at 16: cells are twice as far apart, their centres at half-pixel places."""
    stitched, grid = stitch(np.ones((1, 4, 4)), [Placement((10, 20), (32, 32))], CELLS, Grid.plane((64, 64)), (16, 16))
    window = Grid.plane((64, 64)).cropped((10, 20), (32, 32)).resized((16, 16))
    assert stitched.shape == (4, 4)
    np.testing.assert_allclose(grid.position((3, 2)), CELLS.grid(window).position((3, 2)))


def test_frames_placed_in_a_cine_equal_the_folded_model() -> None:
    model = FrameWise(Linear()).eval()
    cine = torch.randn(1, 1, 5, 16, 16)
    times = (0.0, 0.5, 1.0, 1.5, 2.0)
    whole = Grid.plane((5, 16, 16), frame_times_s=times)
    folded = explain(model, cine, targets=2, grid=whole)
    frames = explain(model.image, cine[0].transpose(0, 1), targets=2)
    record = frames.stitched([Placement((t, 0, 0), (1, 16, 16), 0.2) for t in range(5)], whole)
    np.testing.assert_allclose(record.evidence, folded.evidence[0, 0].numpy(), atol=1e-7)
    assert record.grid == folded.grid


@pytest.mark.parametrize(
    "placed", [[], [Placement((0, 0), (16, 16))], [Placement((0, 0, 0), (1, 16, 16))] * 2,
               [Placement((0, 0), (16, 16)), Placement((0, 0), (16, 32))]],
)  # fmt: skip
def test_placements_that_do_not_fit(placed: list[Placement]) -> None:
    with pytest.raises(ExplainError) as error:
        stitch(np.ones((2, 4, 4)), placed, CELLS, Grid.plane((32, 32)))
    assert error.value.code == "bad-placement"
