"""From values to what the eye sees."""

import io

import numpy as np
import pytest
from PIL import Image

from medcam.display import WINDOWS, auto_window, colour, colour_bar, overlay, png, strength, to_bytes


def test_a_window_shows_its_ends_as_black_and_white():
    centre, width = WINDOWS["lung"]
    plane = np.array([[-3000, centre - width / 2, centre, centre + width / 2, 3000]])
    assert to_bytes(plane, (centre, width)).tolist() == [[0, 0, 127, 255, 255]]


def test_colour_is_shown_as_it_is():
    rgb = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    assert np.array_equal(to_bytes(rgb, (40, 400)), rgb)


def test_the_automatic_window_is_not_led_astray_by_few_outliers():
    plane = np.random.default_rng(0).uniform(100, 200, (200, 200))
    plane[0, 0], plane[2, 2] = 60000, -60000
    centre, width = auto_window(plane)
    assert abs(centre - 150) < 2
    assert 95 < width < 101
    assert auto_window(np.full((9, 9), 5.0))[1] > 0


def test_strength_is_a_share_of_the_display_range():
    values = np.array([-2.0, 0, 1, 2, 4, 9])
    assert strength(values, (0.0, 4.0)).tolist() == [0, 0, 0.25, 0.5, 1, 1]
    assert strength(values, (-4.0, 4.0)).tolist() == [-0.5, 0, 0.25, 0.5, 1, 1]
    assert strength(values, (0.0, 0.0)).tolist() == [0] * 6


def test_paint_is_where_evidence_is_and_nowhere_else():
    base = np.full((4, 5), 100, np.uint8)
    evidence = np.zeros((4, 5))
    evidence[1, 2], evidence[2, 3], evidence[3, 4] = 4.0, 1.0, 0.9
    painted = overlay(base, evidence, (0.0, 4.0), opacity=0.5, least=0.25)
    changed = (painted != 100).any(-1)
    assert np.argwhere(changed).tolist() == [[1, 2], [2, 3]]
    assert np.array_equal(overlay(base, evidence, (0.0, 4.0), opacity=0.0), np.repeat(base[..., None], 3, -1))
    full = overlay(base, evidence, (0.0, 4.0), opacity=1.0)
    assert full[1, 2].tolist() == colour(np.array(1.0)).tolist()


def test_stronger_evidence_is_brighter_and_the_two_signs_differ():
    luminance = colour(np.linspace(0.25, 1, 20)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()  # also without colour vision
    luminance = colour(np.linspace(-0.25, -1, 20)) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    red, _, blue = np.moveaxis(colour(np.array([0.8, -0.8])).astype(int), -1, 0)
    assert red[0] > blue[0]
    assert blue[1] > red[1]


def test_the_bar_shows_the_colours_of_the_paint_with_the_strongest_at_the_top():
    bar = colour_bar(101, 3, least=0.25)
    assert bar[0, 0].tolist() == colour(np.array(1.0)).tolist()
    assert bar[50, 2].tolist() == colour(np.array(0.5)).tolist()
    assert bar[100, 0].tolist() == [128] * 3  # not painted
    signed = colour_bar(101, 3, signed=True)
    assert signed[100, 0].tolist() == colour(np.array(-1.0)).tolist()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (64, 48), (33, 20, 3), (1, 1, 3)])
def test_a_png_comes_back_pixel_for_pixel(shape):
    rng = np.random.default_rng(1)
    for picture in (rng.integers(0, 256, shape), np.zeros(shape), np.full(shape, 255)):
        picture = picture.astype(np.uint8)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    turned = np.swapaxes(picture, 0, 1)  # not contiguous
    read = Image.open(io.BytesIO(png(turned)))
    read.verify()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(turned)))), turned)
