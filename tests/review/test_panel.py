"""The frame around a picture leaves the picture alone and its scale bar is true."""

import numpy as np
import pytest

from medcam.display import colour, strength
from medcam.review.panel import MARGIN, STRIP, evidence_strip, framed, scale_bar, value_at


@pytest.mark.parametrize(
    ("mm_per_pixel", "width", "pixels", "words"),
    [
        (0.25, 648, 80, "2 cm"),  # a quarter of 162 mm is 40.5 mm: 20 mm are 80 pixels
        (1.0, 400, 100, "10 cm"),
        (0.04, 600, 125, "5 mm"),
        (0.0002, 600, 100, "20 um"),
        (0.002, 500, 100, "0.2 mm"),
    ],
)
def test_scale_bar_by_hand(mm_per_pixel, width, pixels, words):
    assert scale_bar(mm_per_pixel, width) == (pixels, words)


def test_the_picture_is_kept_pixel_by_pixel_and_letters_stand_around_it():
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    panel = framed(picture, ("R", "L", "A", "P"), 0.25)
    assert panel.shape == (90 + 2 * MARGIN + STRIP, 120 + 2 * MARGIN, 3)
    inside = (slice(MARGIN, MARGIN + 90), slice(MARGIN, MARGIN + 120))
    assert np.array_equal(panel[inside], picture)
    bare = framed(picture, ("", "", "", ""), 0.25)
    for letter, region in {
        "R": (slice(MARGIN, MARGIN + 90), slice(0, MARGIN)),
        "L": (slice(MARGIN, MARGIN + 90), slice(MARGIN + 120, None)),
        "A": (slice(0, MARGIN), slice(None)),
        "P": (slice(MARGIN + 90, 90 + 2 * MARGIN), slice(None)),
    }.items():
        assert (panel[region] != bare[region]).any(), letter
    other = framed(picture, ("L", "R", "A", "P"), 0.25)
    assert not np.array_equal(other[:, :MARGIN], panel[:, :MARGIN]), "the letters are the ones given"


def test_a_narrow_picture_stands_in_the_middle_of_a_readable_line():
    picture = np.full((300, 60), 200, np.uint8)
    panel = framed(picture, ("R", "L", "", ""), 0.25, strip=np.zeros((STRIP, 420, 3), np.uint8))
    assert panel.shape == (300 + 2 * MARGIN + STRIP, 420 + 2 * MARGIN, 3)
    assert (panel[MARGIN : MARGIN + 300, MARGIN + 180 : MARGIN + 240] == 200).all()


def test_the_bar_is_drawn_at_its_length():
    panel = framed(np.zeros((100, 400, 3), np.uint8), ("", "", "", ""), 1.0)
    drawn = np.flatnonzero(panel[100 + MARGIN + MARGIN // 2 - 3, : MARGIN + 105].max(axis=-1) > 100)  # words follow
    assert (drawn.min(), drawn.max()) == (MARGIN, MARGIN + 100)


def test_the_colour_bar_has_the_colours_of_the_overlay():
    strip = evidence_strip(401, (0.0, 4.0), 0.25, "logit")
    assert strip.shape == (STRIP, 401, 3)
    for column, share in ((400, 1.0), (300, 0.75), (120, 0.3)):
        assert np.abs(strip[8, column].astype(int) - colour(np.array(share)).astype(int)).max() <= 3
    assert (strip[8, 50] == 128).all(), "grey where nothing is painted"
    assert (strip[8, 100] == 255).all(), "a line at the threshold"
    signed = evidence_strip(401, (-1.0, 4.0), 0.25, "logit")
    assert np.abs(signed[8, 0].astype(int) - colour(np.array(-1.0)).astype(int)).max() <= 3


def test_no_evidence_says_so_instead_of_a_bar():
    strip = evidence_strip(400, (0.0, 0.0), 0.25, "logit")
    assert (strip[..., 0] == strip[..., 1]).all(), "no colour anywhere"
    assert strip.max() > 200, "but words"


@pytest.mark.parametrize("display_range", [(0.0, 4.0), (1.0, 3.0), (-1.0, 4.0), (-5.0, 2.0)])
def test_values_on_the_bar_are_those_that_are_painted_so(display_range):
    for share in (0.1, 0.25, 0.9):
        value = value_at(share, display_range)
        assert strength(np.array(value), display_range) == pytest.approx(share, abs=1e-6)
