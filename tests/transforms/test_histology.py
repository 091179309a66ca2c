import numpy as np
import pytest

from medcam.grid import Grid
from medcam.study import Pixels
from medcam.transforms import compose, prepare
from tests.transforms.worlds import blob, error_cells


@pytest.mark.parametrize("shape", [(100, 140), (300, 260), (256, 256)])
def test_a_planted_nucleus_stays_where_it_is(shape: tuple[int, int]) -> None:
    grid = Grid.plane(shape, (0.0005, 0.0005), mm_known=True)
    planted = np.array(shape) * 0.45
    array = np.repeat(255 * blob(shape, planted, np.array([8, 8]))[..., None], 3, axis=-1).astype(np.uint8)
    prepared = prepare(Pixels(array, grid, True, "RGB"), compose("histology", size=(128, 128)))
    inner = np.array(shape) * 128 / max(shape)
    margin = ((128 - inner) // 2).astype(int)
    glass = prepared.tensor.numpy().copy()
    assert (glass[..., : margin[0], :] == 1).all()  # white, not black, around the tissue
    assert (glass[..., : margin[1]] == 1).all()
    seen = Pixels(array[..., :1].repeat(3, -1), grid, True, "RGB")
    if margin.max() == 0:
        assert error_cells(seen, planted, compose("histology", size=(128, 128))) < 0.1


def test_each_tile_of_a_slide_has_its_own_place() -> None:
    rng = np.random.default_rng(0)
    grid = Grid.plane((1000, 2000), (0.0005, 0.0005), mm_known=True)
    origins = ((0, 0), (512, 1024), (744, 1744))
    tiles = np.zeros((3, 256, 256, 3), np.uint8)
    planted = [np.array(origin) + rng.uniform(60, 190, 2) for origin in origins]
    for tile, origin, point in zip(tiles, origins, planted, strict=True):
        tile[:] = (255 * blob((256, 256), point - origin, np.array([8, 8])))[..., None]
    pixels = Pixels(tiles, grid, True, "RGB", origins=origins)
    transform = compose("histology", size=(128, 128))
    assert prepare(pixels, transform).tensor.shape == (3, 3, 128, 128)
    for row, point in enumerate(planted):
        assert error_cells(pixels, point, transform, row) < 0.1


def test_colours_are_kept_in_order_and_scaled() -> None:
    array = np.zeros((4, 4, 3), np.uint8)
    array[:] = (255, 51, 0)
    prepared = prepare(Pixels(array, Grid.plane((4, 4)), True, "RGB"), compose("histology", size=(4, 4)))
    assert prepared.tensor[0, :, 1, 1].tolist() == pytest.approx([1.0, 0.2, 0.0])
