import numpy as np
import pytest
import torch

from medcam.grid import Grid
from medcam.study import Pixels
from medcam.transforms import compose, prepare
from tests.transforms.worlds import blob, error_cells

REGION = {"UltrasoundRegion": "20\\10\\99\\69"}


def cine(frames: int, shape: tuple[int, int] = (80, 120)) -> Grid:
    times = tuple(0.04 * n + 0.001 * n**2 for n in range(frames))  # not evenly spaced
    return Grid.plane((frames, *shape), (0.5, 0.5), mm_known=True, frame_times_s=times)


@pytest.mark.parametrize("facts", [{}, REGION])
@pytest.mark.parametrize("frames", [9, 31])
def test_a_planted_reflector_stays_where_it_is_in_space_and_time(facts: dict[str, str], frames: int) -> None:
    grid = cine(frames)
    planted = np.array([(frames - 1) / 2, 41.3, 57.6])
    array = 255 * blob(grid.shape, planted, np.array([2.5, 4, 4]))
    rgb = np.repeat(array[..., None], 3, axis=-1).astype(np.uint8)
    transform = compose("ultrasound", facts, size=(48, 56), frames=16, percentiles=(0, 100))
    assert error_cells(Pixels(rgb, grid, True, "RGB"), planted, transform) < 0.1


@pytest.mark.parametrize(
    ("frames", "kept"), [(1, [0]), (16, range(16)), (17, range(0, 17, 2)), (300, range(7, 300, 19))]
)
def test_every_nth_frame_is_kept_with_its_own_time(frames: int, kept: range) -> None:
    grid = cine(frames, (8, 8))
    array = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None, None], grid.shape).copy()
    array[:, 0, 0], array[:, 0, 1] = 0, 300  # so that grey values can be read back
    prepared = prepare(Pixels(array, grid, False, "grey"), compose("ultrasound", size=(8, 8), percentiles=(0, 100)))
    assert (prepared.tensor[0, 0, :, 4, 4] * 300).round().int().tolist() == list(kept)
    assert prepared.grid.frame_times_s == pytest.approx([grid.frame_times_s[n] for n in kept])
    assert prepared.grid.position([[n, 0, 0] for n in range(len(kept))])[:, 2] == pytest.approx(list(kept))


def test_only_the_stated_region_is_seen() -> None:
    array = np.random.default_rng(0).integers(0, 200, (3, 80, 120)).astype(np.uint8)
    outside = array.copy()
    outside[:, 10:70, 20:100] = 0
    changed = np.where(outside > 0, 255, array).astype(np.uint8)
    see = [prepare(Pixels(a, cine(3), False, "grey"), compose("ultrasound", REGION)).tensor for a in (array, changed)]
    torch.testing.assert_close(*see)
    missed = {"UltrasoundRegion": "500\\10\\99\\69"}  # a region outside of the picture says nothing
    assert prepare(Pixels(array, cine(3), False, "grey"), compose("ultrasound", missed)).grid.spacing[1] > 0.24
