import numpy as np
import pytest
import torch

from medcam.grid import Grid
from medcam.study import Pixels
from medcam.transforms import compose, prepare
from tests.transforms.worlds import blob, error_cells, oblique


@pytest.mark.parametrize("seed", range(8))
def test_a_planted_nodule_stays_where_it_is_whatever_the_angle_mirror_and_spacing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(30, 60, 3))
    spacing = rng.uniform(1.0, 4.0, 3)
    grid = oblique(shape, spacing, rng)
    planted = (np.array(shape) - 1) / 2 + rng.uniform(-5, 5, 3)
    hu = -1000 + 1400 * blob(shape, planted, 6 / spacing)  # 6 mm wide
    transform = compose("ct", size=[60, 70, 80], spacing_mm=[3.0, 2.5, 2.0])
    assert error_cells(Pixels(hu.astype(np.float32), grid, False, "HU"), planted, transform) < 0.05


def test_rows_run_to_the_back_columns_to_the_left_and_slices_to_the_head() -> None:
    # stored as a caudal-to-cranial flip: first axis from head to feet, rows to the front, columns to the right
    affine = np.array([[0, 0, 2.0, 10], [0, 3.0, 0, 20], [-4.0, 0, 0, 30], [0, 0, 0, 1]])
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32) * 100
    transform = compose("ct", size=(5, 6, 7), spacing_mm=(4, 3, 2), window_hu=(-1000, 1000))
    prepared = prepare(
        Pixels(array, Grid.of((5, 6, 7), affine, space="patient", mm_known=True), False, "HU"), transform
    )
    expected = (array[::-1, ::-1, ::-1] + 1000) / 2000
    np.testing.assert_allclose(prepared.tensor[0, 0].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(np.sign(prepared.grid.matrix[:3, :3]), [[0, 0, -1], [0, -1, 0], [1, 0, 0]])
    assert prepared.grid.spacing == pytest.approx((4, 3, 2))
    assert prepared.grid.sides() == ("R", "L", "A", "P")


def test_the_window_maps_its_ends_to_zero_and_one_and_padding_is_air() -> None:
    grid = Grid.of((4, 4, 4), np.diag([1.0, 1, 1, 1]), space="patient", mm_known=True)
    array = np.full((4, 4, 4), 3000, np.int16)
    array[:2] = -300
    transform = compose("ct", size=(4, 4, 8), spacing_mm=(1, 1, 1), window_hu=(-1000, 400))
    values = prepare(Pixels(array, grid, False, "HU"), transform).tensor
    assert torch.unique(values).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert values[..., :2].max() == values[..., -2:].max() == 0


def test_what_the_source_grid_knew_is_kept() -> None:
    grid = oblique((20, 20, 20), np.array([2.0, 2, 2]), np.random.default_rng(1))
    prepared = prepare(Pixels(np.zeros((20, 20, 20), np.float32), grid, False, "HU"), compose("ct"))
    assert (prepared.grid.space, prepared.grid.mm_known, prepared.grid.frame_of_reference) == ("patient", True, "1.2.3")
    assert prepared.tensor.shape == (1, 1, *prepared.grid.shape)
    assert prepared.tensor.is_contiguous()
