import numpy as np
import pytest
import torch

from medcam.errors import InputError
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


def numbered(frames: int, times: tuple[float, ...] | None) -> Pixels:
    """A cine that tells its frames' numbers at [4, 4]."""
    grid = Grid.plane((frames, 8, 8), frame_times_s=times)
    array = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None, None], grid.shape).copy()
    array[:, 0, 0], array[:, 0, 1] = 0, 1000
    return Pixels(array, grid, False, "grey")


def kept(pixels: Pixels, **options: object) -> list[int]:
    prepared = prepare(pixels, compose("ultrasound", size=(8, 8), percentiles=(0, 100), **options))
    numbers: list[int] = (prepared.tensor[0, 0, :, 4, 4] * 1000).round().int().tolist()
    if pixels.grid.frame_times_s is not None:
        assert prepared.grid.frame_times_s == pytest.approx([pixels.grid.frame_times_s[n] for n in numbers])
    assert prepared.grid.position([[n, 0, 0] for n in range(len(numbers))])[:, 2] == pytest.approx(numbers)
    return numbers


@pytest.mark.parametrize(
    ("rate", "frames", "expected"),
    [
        (25.0, 100, range(0, 100, 8)),  # int(25 / 3) = 8
        (30000 / 1001, 45, range(0, 45, 9)),  # int(9.99) = 9
        (30.0, 400, range(0, 300, 10)),  # the first 30 of 40
        (10.0, 21, range(0, 21, 3)),
        (2.0, 5, range(5)),  # slower than three per second: all
        (1.0, 1, range(1)),
    ],
)
def test_frames_at_a_rate_are_the_first_every_nth(rate: float, frames: int, expected: range) -> None:
    exact = tuple(n / rate for n in range(frames))
    rounded = tuple(round(t, 3) for t in exact)  # as Matroska writes them
    for times in (exact, rounded):
        assert kept(numbered(frames, times), frames=30, frames_per_second=3.0) == list(expected)


def test_frames_without_times_have_no_rate() -> None:
    with pytest.raises(InputError, match="preparation-failed"):
        kept(numbered(9, None), frames_per_second=3.0)


@pytest.mark.parametrize(
    ("frames", "expected"), [(16, range(16)), (31, range(7, 23)), (32, range(0, 32, 2)), (100, range(4, 100, 6))]
)
def test_exactly_so_many_frames_lie_in_the_middle(frames: int, expected: range) -> None:
    assert kept(numbered(frames, None), exact=True) == list(expected)[:16]


def test_too_few_frames_are_refused_if_exactly_so_many_are_needed() -> None:
    for options in ({}, {"frames_per_second": 3.0}):
        times = tuple(n / 6 for n in range(15))
        with pytest.raises(InputError, match="too-few"):
            kept(numbered(15, times), frames=16, exact=True, **options)
    assert kept(numbered(15, times), frames=8, exact=True, frames_per_second=3.0) == list(range(0, 15, 2))
