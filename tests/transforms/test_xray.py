import numpy as np
import pytest
import torch

from medcam.grid import Grid
from medcam.study import Pixels
from medcam.transforms import compose, prepare
from tests.transforms.worlds import blob, error_cells


@pytest.mark.parametrize("seed", range(6))
def test_a_planted_opacity_stays_where_it_is_with_oblong_pixels_and_padding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(90, 300, 2))
    spacing = rng.uniform(0.2, 0.5, 2)
    grid = Grid.plane(shape, tuple(spacing), space="detector", mm_known=True, patient_orientation=("L", "F"))
    planted = (np.array(shape) - 1) / 2 + rng.uniform(-15, 15, 2)
    stored = 4000 * blob(shape, planted, 4 / spacing)
    transform = compose("xray", size=[96, 128], percentiles=[0, 100])
    assert error_cells(Pixels(stored.astype(np.uint16), grid, False, "grey"), planted, transform) < 0.25


def test_proportions_are_those_of_the_body_not_of_the_pixels() -> None:
    grid = Grid.plane((100, 100), (2.0, 1.0), space="detector", mm_known=True)  # 200 mm high, 100 mm wide
    prepared = prepare(Pixels(np.random.default_rng(0).random((100, 100)), grid, False, "grey"), compose("xray"))
    assert prepared.grid.spacing == pytest.approx((200 / 256, 100 / 128))
    filled = prepared.tensor[0, 0].amax(0) > 0
    assert filled[64:192].all()
    assert not filled[:64].any()
    assert not filled[192:].any()


def test_neither_bit_depth_nor_gain_nor_offset_matters() -> None:
    grid = Grid.plane((64, 64))
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    transform = compose("xray", size=(32, 32))
    once = prepare(Pixels(image, grid, False, "grey"), transform).tensor
    twice = prepare(Pixels(image * 4095 + 500, grid, False, "grey"), transform).tensor
    torch.testing.assert_close(once, twice, atol=1e-5, rtol=0)
    assert (once.min(), once.max()) == (0, 1)


def test_a_blank_picture_and_one_that_is_almost_blank_stay_within_the_range() -> None:
    grid, transform = Grid.plane((64, 64)), compose("xray", size=(32, 32))
    blank = np.full((64, 64), 7, np.float32)
    assert prepare(Pixels(blank, grid, False, "grey"), transform).tensor.abs().max() == 0
    blank[:2, :2] = 9
    assert prepare(Pixels(blank, grid, False, "grey"), transform).tensor.max() == 1


def test_shrinking_averages_so_that_fine_texture_does_not_alias() -> None:
    checkers = np.indices((256, 256)).sum(0) % 2
    prepared = prepare(
        Pixels(checkers.astype(np.float32) * 100, Grid.plane((256, 256)), False, "grey"), compose("xray", size=(64, 64))
    )
    assert prepared.tensor.std() == 0
