"""Grids compose exactly, and resampling moves values to where they lie in the patient."""

from itertools import product

import numpy as np
import pytest

from medcam.grid import Grid, resample

RNG = np.random.default_rng(11)


def volume(shape=(5, 6, 7)):
    return Grid.of(
        shape, [[0, 0, -1, 10], [0, -1.5, 0, 3], [2, 0, 0, -5], [0, 0, 0, 1]], space="patient", mm_known=True
    )


def positions(grid):
    return grid.position(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))


def linear(grid):
    """A field that linear interpolation reproduces exactly."""
    return (positions(grid) @ [1.0, -2.0, 0.5] + 4).astype(np.float32)


def rotated(grid, angle, shape, centre, scale=0.5):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ grid.matrix[:3, :3] * scale
    matrix[:3, 3] = grid.position(centre)
    return Grid.of(shape, matrix, space="patient", mm_known=True)


def slow(values, source, target):
    """Trilinear interpolation, one cell at a time, from its definition; border values hold."""
    result = np.zeros(target.shape)
    for cell in np.ndindex(target.shape):
        at = source.index(target.position(cell)).clip(0, np.array(source.shape) - 1)
        low = np.floor(at).astype(int)
        for corner in product((0, 1), repeat=len(source.shape)):
            index = np.minimum(low + corner, np.array(source.shape) - 1)
            weight = np.prod([f if up else 1 - f for up, f in zip(corner, at - low, strict=True)])
            result[cell] += weight * values[tuple(index)]
    return result


def test_index_and_position_are_inverse_and_hand_computed():
    grid = volume()
    assert grid.position([1, 2, 3]).tolist() == [10 - 3, 3 - 3, -5 + 2]
    assert np.allclose(grid.index(grid.position([0.25, 2.5, 6])), [0.25, 2.5, 6])
    plane = Grid.plane((4, 6), (0.5, 0.25))
    assert plane.position([2, 3]).tolist() == [0.75, 1.0, 0.0]
    assert plane.spacing == (0.5, 0.25)


def test_sides_are_the_letters_a_reader_expects():
    assert volume().sides() == ("R", "L", "A", "P")  # columns run to -x, the patient's left
    assert Grid.plane((4, 4), patient_orientation=("L", "F")).sides() == ("R", "L", "H", "F")
    assert Grid.plane((4, 4)).sides() == ("", "", "", "")


def test_cropping_and_resizing_keep_places():
    grid = volume()
    assert np.allclose(grid.cropped((1, 2, 3), (2, 2, 2)).position([0, 0, 0]), grid.position([1, 2, 3]))
    half = grid.resized((5, 3, 7))
    assert np.allclose(half.position([0, 0, 0]), grid.position([0, 0.5, 0]))
    assert np.allclose(half.position([4, 2, 6]), grid.position([4, 4.5, 6]))


def test_frame_times_follow_subsampling():
    cine = Grid.plane((9, 4, 4), frame_times_s=tuple(0.1 * i for i in range(9)))
    assert cine.rescaled((3, 4, 4), (4, 1, 1), 0).frame_times_s == pytest.approx((0, 0.4, 0.8))


def test_a_grid_goes_to_json_and_back():
    grid = Grid.plane((3, 4, 4), (0.1, 1 / 3), frame_times_s=(0.0, 0.1, 0.2), patient_orientation=("L", "F"))
    assert Grid.from_dict(grid.to_dict()) == grid


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_resampling_equals_the_definition_and_reproduces_linear_fields(angle):
    source = volume()
    target = rotated(source, angle, (3, 4, 4), (1, 2, 1.5))
    values = RNG.normal(size=source.shape).astype(np.float32)
    wide = source.resized((1, 1, 1))
    assert np.allclose(resample(values, source, target, within=wide), slow(values, source, target), atol=1e-5)
    assert np.allclose(resample(linear(source), source, target), linear(target), atol=1e-3)


def test_flipped_and_swapped_axes_are_exact():
    source = volume()
    swap = np.array([[0, 0, 1, 0], [0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 0, 1]])
    target = Grid.of((7, 6, 5), source.matrix @ swap, space="patient", mm_known=True)
    values = RNG.normal(size=source.shape).astype(np.float32)
    expected = values[:, ::-1].transpose(2, 1, 0)
    assert np.array_equal(resample(values, source, target), expected)
    assert np.array_equal(resample(values, source, target, slab=slice(2, 4)), expected[2:4])
    assert np.array_equal(resample(values, source, target, nearest=True), expected)


def test_nothing_is_claimed_outside_the_field_of_view():
    source = volume((4, 4, 4))
    target = source.cropped((-2, -2, -2), (8, 8, 8))
    out = resample(np.ones(source.shape, np.float32), source, target, fill=-7)
    assert (out[2:6, 2:6, 2:6] == 1).all()
    out[2:6, 2:6, 2:6] = -7
    assert (out == -7).all()


def test_borders_hold_inside_the_models_field_of_view():
    field = Grid.plane((16, 16))
    cells = field.rescaled((4, 4), 4, 0)  # centres at 0, 4, 8, 12: shifted as those of a strided convolution
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    out = resample(values, cells, field, within=field)
    assert out[15, 15] == 15
    assert out[0, 0] == 0
    assert out[2, 0] == pytest.approx(2.0)


def test_different_spaces_do_not_mix():
    with pytest.raises(ValueError, match="no way"):
        resample(np.ones((4, 4)), Grid.plane((4, 4)), Grid.plane((4, 4), space="detector"))


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="frame times"):
        Grid.plane((3, 4, 4), frame_times_s=(0.0,))
    with pytest.raises(ValueError, match="finite"):
        Grid.of((4, 4), np.full((4, 4), np.nan))
