"""Augmentations: each image's Grid tells the truth, and an equivariant map does not spread."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.grid import Grid, resample
from medcam.uncertainty.augmentation import CHANGES, Augmentation, _disturbed, _grid, _moved, _places
from tests.explainers.nets import FrameWise, Linear


class Pointwise(nn.Module):
    """Looks at single cells, after a stride of 2: its map moves with the image, exactly."""

    def __init__(self, axes: int = 2) -> None:
        super().__init__()
        self.conv = (nn.Conv2d if axes == 2 else nn.Conv3d)(1, 2, 1, stride=2)
        self.fc = nn.Linear(2, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0]).reshape(2, 1, *[1] * axes))
            self.conv.bias.zero_()
            self.fc.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).flatten(2).mean(2))


@pytest.mark.parametrize("axes", [2, 3])
def test_an_equivariant_map_does_not_spread(axes: int) -> None:
    """A smooth ramp image, whose values every shift and zoom can tell exactly."""
    size = 32
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = (0.02 * rows + 0.03 * columns).expand(1, 1, *[4] * (axes - 2), size, size).float()
    explained = explain(Pointwise(axes), image, targets=1)
    members = list(Augmentation().members(Pointwise(axes), explained, 0, 0))
    moved = [member for member in members if "shifted" in member.name or "zoom" in member.name]
    assert len(moved) == 5
    for member in moved:
        back = resample(member.evidence[0], member.grids[0], explained.grid, within=member.seen[0], fill=float("nan"))
        seen = np.isfinite(back)
        assert 0.8 < seen.mean() <= 1
        truth = explained.evidence[0, 0].numpy()
        inner = (..., slice(2, -2), slice(2, -2))  # a border repeated beyond the image is no ramp
        np.testing.assert_allclose(np.where(seen, back, truth)[inner], truth[inner], atol=1e-6)


def test_shifts_of_whole_cells_come_back_exactly_for_any_image() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 1, 48, 48)
    explained = explain(Pointwise(), image, targets=1)
    assert explained.alignment.stride == (2, 2)
    for member in Augmentation().members(Pointwise(), explained, 0, 0):
        if not member.name.startswith("shifted"):
            continue
        for sample in range(2):
            back = resample(
                member.evidence[sample], member.grids[sample], explained.grid, within=member.seen[sample], fill=np.nan
            )
            seen = np.isfinite(back)
            assert 0.9 < seen.mean() < 1, "one row or column of cells is lost from sight"
            np.testing.assert_array_equal(back[seen], explained.evidence[sample, 0].numpy()[seen])


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_every_changed_image_lies_where_its_grid_says(change) -> None:  # type: ignore[no-untyped-def]
    """Sampling the original at the changed image's own positions gives the changed image."""
    grid = Grid.plane((40, 50), spacing=(0.7, 0.3), mm_known=True)
    rows, columns = np.meshgrid(np.arange(40), np.arange(50), indexing="ij")
    image = np.sin(rows / 5) + np.cos(columns / 7)
    start, step = _places(change, (40, 50), (4.0, 4.0))
    changed = _moved(torch.tensor(image)[None, None], start, step)[0, 0].numpy()
    there = _grid(grid, start, step)
    expected = resample(image, grid, there, fill=np.nan)
    seen = np.isfinite(expected)
    assert seen.mean() > 0.85
    np.testing.assert_allclose(changed[seen], expected[seen], atol=1e-5)
    if "right" in change.name:
        np.testing.assert_array_equal(changed[:, 2:], image[:, :-2])  # what was at column 0 is now at column 2


def test_contrast_and_noise_are_shares_of_the_images_own_spread() -> None:
    image = torch.randn(2, 1, 64, 64) * torch.tensor([1.0, 50.0]).reshape(2, 1, 1, 1) + 7
    by_name = {change.name: change for change in CHANGES}
    up, down = (_disturbed(image, by_name[name], 0) for name in ("contrast up", "contrast down"))
    torch.testing.assert_close(up.std((1, 2, 3)), image.std((1, 2, 3)) * 1.05)
    torch.testing.assert_close(down.mean((1, 2, 3)), image.mean((1, 2, 3)))
    noise = _disturbed(image, by_name["noise"], 3) - image
    torch.testing.assert_close(noise.std((1, 2, 3)) / image.std((1, 2, 3)), torch.full((2,), 0.05), atol=2e-3, rtol=0)
    torch.testing.assert_close(noise, _disturbed(image, by_name["noise"], 3) - image)
    assert not torch.allclose(noise, _disturbed(image, by_name["noise"], 4) - image)


def test_eight_named_scores_and_nothing_depends_on_the_batch() -> None:
    model = Linear(classes=1).eval()
    x = torch.randn(3, 1, 48, 48)
    together = Augmentation().spread(model, explain(model, x, targets=1))
    alone = Augmentation().spread(model, explain(model, x[1:2], targets=1))[0]
    assert len(together) == 3
    assert len(together[1].uncertainty.scores) == 8
    assert together[1].uncertainty.score_sd == pytest.approx(np.std(list(together[1].uncertainty.scores.values())))
    assert together[1].uncertainty.scores == pytest.approx(alone.uncertainty.scores)
    np.testing.assert_allclose(together[1].per_cell, alone.per_cell, atol=1e-6)
    assert np.isfinite(alone.per_cell).all()
    assert alone.per_cell.max() > 0


def test_costs_one_batched_forward_pass_per_member() -> None:
    model = Linear(classes=1).eval()
    explained = explain(model, torch.randn(3, 1, 48, 48), targets=1)
    sizes: list[int] = []
    model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    assert len(Augmentation(passes=3).spread(model, explained)[0].logits) == 3
    assert sizes == [3, 3, 3]


def test_the_same_target_is_kept_even_where_the_prediction_changes() -> None:
    model = Linear(classes=3).eval()
    explained = explain(model, torch.randn(2, 1, 48, 48))
    model.fc.bias.data[int(explained.targets.classes[0][0])] -= 100
    spread = Augmentation().spread(model, explained)[0]
    assert max(spread.logits.values()) < -50


def test_a_scores_meaning_is_the_callers() -> None:
    model = Linear(classes=1).eval()
    explained = explain(model, torch.randn(1, 1, 48, 48), targets=1)
    spread = Augmentation().spread(model, explained, score=lambda logit: logit / 10)[0]
    assert spread.uncertainty.scores == pytest.approx({name: logit / 10 for name, logit in spread.logits.items()})


def test_cines_keep_their_frames() -> None:
    model = FrameWise(Linear(classes=1)).eval()
    times = (0.0, 0.1, 0.2)
    explained = explain(
        model, torch.randn(1, 1, 3, 32, 32), targets=1, grid=Grid.plane((3, 32, 32), frame_times_s=times)
    )
    spread = Augmentation(passes=4).spread(model, explained)[0]
    assert spread.per_cell.shape == explained.grid.shape == (3, 8, 8)
