"""The original stays as it is, colour lies where the evidence is, boxes where the regions are, scales say the truth."""

import re
from dataclasses import replace

import numpy as np
import pytest

from medcam.display import strength
from medcam.findings import KeyImage
from medcam.grid import Grid
from medcam.reports._bitmap import render
from medcam.reports._drawing import Box, Image, Line, Text
from medcam.reports._picture_words import evidence_value
from medcam.reports._pictures import BOX, DISPLAY, Style, box_on, figure, read_plane

EXACT = Style(panel=400, text=12, paper="#000000", ink="#ffffff", faint="#aaaaaa", pixels=None)


def drawn(results, case, style=EXACT):
    picture = case.key_images[0]
    plane = read_plane(results.path(case.key) / picture.file)
    exact = replace(style, panel=plane.shape[1] * 4) if style.pixels is None else style
    return figure(case, picture, plane, exact), plane


def panels(drawing):
    """The two pictures of a drawing, original first; the third image is the colour bar."""
    return [mark for mark in drawing.marks if isinstance(mark, Image)][:2]


def cut_out(drawing, panel):
    whole = render(drawing)
    y, x = round(panel.y), round(panel.x)
    return whole[y : y + round(panel.height), x : x + round(panel.width)]


ALL = ["image, flagged", "volume, flagged", "cine, demonstration only", "slide, not flagged"]


@pytest.mark.parametrize("which", ALL)
def test_the_original_is_untouched_and_the_overlay_differs_only_where_there_is_evidence(results, cases, which):
    case = cases[which]
    drawing, plane = drawn(results, replace(case, regions=()))
    rgb = plane if plane.ndim == 3 else np.repeat(plane[..., None], 3, axis=-1)
    left, right = (cut_out(drawing, panel)[2::4, 2::4] for panel in panels(drawing))
    assert np.array_equal(left, rgb), "every source pixel, four times as large, nothing drawn on it"
    changed = (right != rgb).any(axis=-1)
    region = case.regions[0]
    square = tuple(slice(a, b) for a, b in zip(region.start[-2:], region.stop[-2:], strict=True))
    assert changed[square].mean() > 0.2, "the planted square is coloured"
    shift = right.astype(int) - rgb
    assert (shift[square][changed[square]] @ (1, 0, -1) > 0).all(), "warm: more red than blue is added"
    far = np.ones_like(changed)  # coarse evidence blurs the square by one cell at most, about an eighth of the picture
    margin = [max(2, size // 8) + 3 for size in plane.shape[:2]]
    far[
        region.start[-2] - margin[0] : region.stop[-2] + margin[0],
        region.start[-1] - margin[1] : region.stop[-1] + margin[1],
    ] = False
    assert not changed[far].any(), "nothing is painted elsewhere"


@pytest.mark.parametrize("which", ALL)
def test_the_box_encloses_the_region(results, cases, which):
    case = cases[which]
    drawing, plane = drawn(results, case)
    panel = cut_out(drawing, panels(drawing)[1])
    wanted = tuple(int(BOX[i : i + 2], 16) for i in (1, 3, 5))
    assert wanted not in {tuple(pixel) for pixel in plane.reshape(-1, plane.shape[-1])}
    rows, columns = np.nonzero((panel == wanted).all(axis=-1))
    region = case.regions[0]
    keep = rows >= region.start[-2] * 4 - 1  # the number stands above the box
    start, stop = region.start[-2:], region.stop[-2:]
    assert abs(rows[keep].min() - start[0] * 4) <= 2
    assert abs(rows[keep].max() - stop[0] * 4) <= 2
    assert abs(columns[keep].min() - start[1] * 4) <= 2
    assert abs(columns[keep].max() - stop[1] * 4) <= 2


def test_a_box_on_an_overview_of_the_slide_is_found_by_position(cases):
    case = cases["slide, not flagged"]
    half = case.grid.resized((128, 128))
    picture = KeyImage(None, "", None, "", half)
    assert box_on(case, picture, case.regions[0]) == pytest.approx((64, 64, 80, 80))  # 128 to 160 of 256


def test_no_box_on_planes_that_the_region_does_not_cut(results, cases):
    case = cases["volume, flagged"]
    plane = read_plane(results.path(case.key) / case.key_images[0].file)
    for index in range(case.grid.shape[0]):
        drawing = figure(case, KeyImage(index, "", (0.0, 1.0), ""), plane, EXACT)
        cut = case.regions[0].start[0] <= index < case.regions[0].stop[0]
        assert any(isinstance(mark, Box) for mark in drawing.marks) == cut


def scale(drawing):
    """Length in drawing units and words of the first scale bar."""
    words = next(m for m in drawing.marks if isinstance(m, Text) and re.fullmatch(r"\d+ (µm|mm|pixels).*", m.words))
    bar = next(m for m in drawing.marks if isinstance(m, Line) and len(m.points) == 4)
    return bar.points[3][0] - bar.points[0][0], words.words


@pytest.mark.parametrize("style", [EXACT, DISPLAY])
def test_scale_bars_are_as_long_as_they_say(results, cases, style):
    drawing, _ = drawn(results, cases["image, flagged"], style)  # 100 columns of 1.5 mm
    length, words = scale(drawing)
    assert words == "20 mm at the detector"
    assert length / panels(drawing)[0].width * 150 == pytest.approx(20)
    drawing, _ = drawn(results, cases["volume, flagged"], style)  # 80 columns of 2 mm
    length, words = scale(drawing)
    assert words == "20 mm"
    assert length / panels(drawing)[0].width * 160 == pytest.approx(20)
    drawing, _ = drawn(results, cases["slide, not flagged"], style)  # 256 columns of 0.5 um
    length, words = scale(drawing)
    assert words == "20 µm"
    assert length / panels(drawing)[0].width * 128 == pytest.approx(20)


def test_without_millimetres_the_bar_counts_pixels(results, cases):
    case = cases["image, flagged"]
    unknown = replace(case, grid=replace(case.grid, mm_known=False))
    drawing, _ = drawn(results, unknown)
    length, words = scale(drawing)
    assert words == "20 pixels (millimetres not known)"
    assert length / panels(drawing)[0].width * 100 == pytest.approx(20)


def letters(drawing):
    """Letters by where they stand around the left panel."""
    panel = panels(drawing)[0]
    found = {}
    for mark in drawing.marks:
        if isinstance(mark, Text) and mark.words in "LRAPHFIS" and mark.x < panel.x + panel.width * 1.1:
            beside = panel.y < mark.y < panel.y + panel.height
            left = mark.x < panel.x + panel.width / 2
            above = mark.y < panel.y + panel.height / 2
            found["left" if beside and left else "right" if beside else "top" if above else "bottom"] = mark.words
            assert not (beside and panel.x <= mark.x <= panel.x + panel.width), "never on the picture"
    return found


def test_side_letters(results, cases):
    drawing, _ = drawn(results, cases["volume, flagged"])
    # columns run towards -x and rows towards -y of RAS: left on the right, as radiologists see it, and posterior below
    assert letters(drawing) == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    drawing, _ = drawn(results, cases["image, flagged"])  # Patient Orientation L\F
    assert letters(drawing) == {"left": "R", "right": "L", "top": "H", "bottom": "F"}
    drawing, _ = drawn(results, cases["cine, demonstration only"])
    assert letters(drawing) == {}, "nothing is known, so nothing is claimed"


@pytest.mark.parametrize("shown", [(0.0, 4.0), (1.0, 5.0), (-3.0, 2.0), (-2.0, 6.0)])
def test_colour_bar_values_are_what_is_painted(shown):
    for share in (1.0, 0.5, 0.25, 0.0, *((-0.25, -1.0) if shown[0] < 0 else ())):
        assert strength(np.array(evidence_value(share, shown)), shown) == pytest.approx(share)


def test_colour_bar_is_labelled_in_evidence_units_with_both_ends(results, cases):
    case = cases["image, flagged"]
    words = {m.words for m in drawn(results, case)[0].marks if isinstance(m, Text)}
    assert {"logit", "4", "1", "0"} <= words
    both = replace(case, explanation=replace(case.explanation, signed=True, display_range=(-4.0, 4.0)))
    words = {m.words for m in drawn(results, both)[0].marks if isinstance(m, Text)}
    assert {"logit", "4", "1", "-1", "-4"} <= words


def test_evidence_against_is_painted_blue(results, cases):
    case = cases["image, flagged"]
    against = replace(case.explanation, signed=True, display_range=(-4.0, 4.0), evidence=-case.explanation.evidence)
    drawing, _ = drawn(results, replace(case, explanation=against))
    row, column = case.regions[0].peak
    red, _, blue = cut_out(drawing, panels(drawing)[1])[row * 4 + 2, column * 4 + 2]
    assert int(blue) > int(red)


def test_an_empty_map_paints_nothing_and_says_so(results, cases):
    case = cases["image, flagged"]
    nothing = replace(case.explanation, evidence=case.explanation.evidence * 0, display_range=(0.0, 0.0))
    drawing, _ = drawn(results, replace(case, explanation=nothing, regions=()))
    left, right = panels(drawing)
    assert np.array_equal(cut_out(drawing, left), cut_out(drawing, right))
    assert any(isinstance(m, Text) and m.words == "no evidence" for m in drawing.marks)


def test_display_copies_are_small_and_keep_their_places(results, cases):
    """A large radiograph is shrunk; the colour stays on the square, in millimetres."""
    case = cases["image, flagged"]
    fine = case.grid.resized((2400, 2000))
    picture = KeyImage(None, "", None, "")
    drawing = figure(replace(case, grid=fine, regions=()), picture, np.zeros((2400, 2000), np.uint8), DISPLAY)
    left, right = panels(drawing)
    assert left.pixels.shape[1] <= 700
    rows, columns = np.nonzero(right.pixels.any(axis=-1))
    centre = np.array([rows.mean() / right.pixels.shape[0], columns.mean() / right.pixels.shape[1]])
    exact, _ = drawn(results, replace(case, regions=()))
    where = (cut_out(exact, panels(exact)[0]) != cut_out(exact, panels(exact)[1])).any(axis=-1)
    rows, columns = np.nonzero(where)
    assert centre == pytest.approx([rows.mean() / where.shape[0], columns.mean() / where.shape[1]], abs=0.01)


def test_panels_keep_the_shape_of_the_body(results, cases):
    """Pixels twice as tall as wide are shown twice as tall as wide."""
    case = cases["image, flagged"]
    tall = replace(case, grid=Grid.plane(case.grid.shape, (3.0, 1.5), space="detector", mm_known=True))
    panel = panels(drawn(results, tall, DISPLAY)[0])[0]
    assert panel.height / panel.width == pytest.approx(120 * 3.0 / (100 * 1.5))
