"""What the reader sees: the planted square at its place, evidence only where there is evidence, nothing invented."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from medcam.display import png
from medcam.findings import KeyImage
from medcam.results import Results
from medcam.review.panel import MARGIN, STRIP
from medcam.review.pictures import SIZE, Pictures
from tests.results_maker import make_case

INNER = SIZE - 2 * MARGIN


@pytest.fixture
def results(folder):
    opened = Results.open(folder)
    yield opened
    opened.close()


def decoded(jpeg):
    """RGB of the picture without its frame."""
    panel = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    return panel[MARGIN : -MARGIN - STRIP, MARGIN:-MARGIN]


def square(case):
    """Box of the planted square in shown pixels: (top, bottom, left, right), from millimetres."""
    rows, columns = case.grid.shape[-2:]
    per_row, per_column = case.grid.spacing[-2:]
    scale = INNER / max(rows * per_row, columns * per_column)
    return [
        place * step * scale
        for step, ends in (
            (per_row, (rows // 2, rows // 2 + rows // 8)),
            (per_column, (columns // 2, columns // 2 + columns // 8)),
        )
        for place in ends
    ]


@pytest.mark.parametrize("number", [0, 3, 4, 5])
def test_the_planted_square_is_at_its_pixels(results, cases, number):
    case = cases[number]
    pictures = Pictures(results, case)
    shown = decoded(pictures.original(pictures.peak, pictures.default_window))
    assert max(shown.shape[:2]) == INNER
    bright = np.argwhere(shown.mean(axis=-1) > (shown.min() + shown.max()) / 2 + 40)
    top, bottom, left, right = square(case)
    found = [*np.percentile(bright[:, 0], (2, 98)), *np.percentile(bright[:, 1], (2, 98))]
    assert np.allclose([found[0], found[1], found[2], found[3]], [top, bottom, left, right], atol=4)


def reference_share(case, index, rows, columns):
    """Evidence at shown pixels as a share of its range: positions in mm and trilinear weights, one pixel at a time."""
    grid, coarse = case.grid, case.explanation.grid
    height, width = grid.shape[-2] * grid.spacing[-2], grid.shape[-1] * grid.spacing[-1]
    scale = INNER / max(height, width)
    shares = []
    for row, column in zip(rows, columns, strict=True):
        at = ((row + 0.5) / scale / grid.spacing[-2] - 0.5, (column + 0.5) / scale / grid.spacing[-1] - 0.5)
        cell = coarse.index(grid.position(at if index is None else (index, *at)))
        low = [int(np.clip(np.floor(x), 0, n - 1)) for x, n in zip(cell, coarse.shape, strict=True)]
        value = 0.0
        for corner in np.ndindex(*([2] * len(low))):
            weight, where = 1.0, []
            for axis, step in enumerate(corner):
                along = float(np.clip(cell[axis], 0, coarse.shape[axis] - 1)) - low[axis]
                weight *= along if step else 1 - along
                where.append(min(low[axis] + step, coarse.shape[axis] - 1))
            value += weight * float(case.explanation.evidence[tuple(where)])
        shares.append(value / case.explanation.display_range[1])
    return np.array(shares)


@pytest.mark.parametrize("number", [0, 3, 4])
def test_paint_lies_only_where_evidence_reaches_the_threshold(results, cases, number, monkeypatch):
    monkeypatch.setattr("medcam.review.pictures._jpeg", png)  # without the noise of compression the answer is exact
    case = cases[number]
    pictures = Pictures(results, case)
    at, window = pictures.peak, pictures.default_window
    original = decoded(pictures.original(at, window))
    painted = decoded(pictures.overlay(at, window, 1.0, 0.25))
    rng = np.random.default_rng(1)
    top, bottom, left, right = (int(edge) for edge in square(case))
    rows, columns = rng.integers(top - 60, bottom + 60, 1500), rng.integers(left - 60, right + 60, 1500)
    share = reference_share(case, pictures.planes[at].index, rows, columns)
    changed = np.abs(painted - original).max(axis=-1)[rows, columns]
    assert (share > 0.251).sum() > 10
    assert (changed[share > 0.251] > 10).all()
    assert (changed[share < 0.249] == 0).all()


def test_opacity_nought_and_the_highest_threshold(results, cases):
    pictures = Pictures(results, cases[3])
    original = decoded(pictures.original(pictures.peak, "lung"))
    assert np.abs(decoded(pictures.overlay(pictures.peak, "lung", 0.0, 0.25)) - original).max() < 12
    assert pictures.threshold(0.25) == 1.0, "a quarter of 0 to 4 logit"
    far = decoded(pictures.overlay(0, "lung", 1.0, 0.25))
    assert np.abs(far - decoded(pictures.original(0, "lung"))).max() < 12, "no paint on a slice without evidence"


def test_windows_change_the_picture_as_they_should(results, cases):
    pictures = Pictures(results, cases[3])
    assert list(pictures.windows) == ["lung", "mediastinum", "bone", "auto"]
    assert pictures.default_window == "lung"
    # background about -520 HU: in the lung window (-1350 to 150) grey (-520 + 1350) / 1500 * 255 = 141, else black
    lung, mediastinum = (decoded(pictures.original(0, name)).mean() for name in ("lung", "mediastinum"))
    assert lung == pytest.approx(141, abs=3)
    assert mediastinum < 1
    assert Pictures(results, cases[4]).windows == {}, "colour is shown as it is"
    assert list(Pictures(results, cases[0]).windows) == ["auto"]


def test_opens_on_the_peak_and_unaided_in_the_middle(results, cases):
    volume = Pictures(results, cases[3])
    assert volume.planes[volume.peak].index == cases[3].regions[0].peak[0] == 7
    assert volume.middle == 6
    assert all(plane.unaided for plane in volume.planes)
    assert len(volume.planes) == 12
    assert volume.planes[7].caption == "slice 8 of 12"
    assert Pictures(results, cases[4]).planes[6].caption == "frame 7 of 10, 0.30 s"


def test_without_regions_the_peak_is_the_strongest_cell(results, cases):
    from dataclasses import replace

    volume = replace(cases[3], regions=())
    assert Pictures(results, volume).peak in (6, 7)
    empty = replace(volume, explanation=replace(volume.explanation, evidence=volume.explanation.evidence * 0))
    pictures = Pictures(results, empty)
    assert pictures.peak == pictures.middle


def test_without_the_source_key_images_and_a_word_about_it(results, cases, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "r")
    for name in ("pixels.npy", "pixels.json"):
        for copy in (tmp_path / "r").rglob(name):
            copy.unlink()
    bare = Results.open(tmp_path / "r")
    try:
        volume, image, slide = (Pictures(bare, cases[number]) for number in (3, 0, 5))
        assert "source-missing" in volume.note
        assert "--source" in volume.note
        assert [(plane.index, plane.unaided) for plane in volume.planes] == [(7, False)], "the evidence chose it"
        assert (volume.windows, volume.default_window, volume.peak) == ({}, "", 0)
        assert image.planes[0].unaided, "a whole image betrays nothing"
        assert slide.note == "", "a slide is always shown by its stored overview"
        assert slide.planes[0].unaided
        whole = Pictures(results, cases[3])
        assert np.abs(decoded(volume.overlay(0)) - decoded(whole.overlay(7, "lung"))).mean() < 3
    finally:
        bare.close()


def test_a_slides_detail_is_not_shown_unaided(results, cases):
    from dataclasses import replace

    detail = KeyImage(None, "key_0.png", None, "strongest tile", cases[5].grid.cropped((64, 64), (128, 128)))
    pictures = Pictures(results, replace(cases[5], key_images=(*cases[5].key_images, detail)))
    assert [plane.unaided for plane in pictures.planes] == [True, False]


def test_pixels_that_are_not_square_are_shown_at_their_true_shape(tmp_path, cases):
    from dataclasses import replace

    from medcam.grid import Grid

    grid = Grid.plane((120, 100), (1.5, 3.0), space="detector", mm_known=True)
    with Results.writer(tmp_path / "r") as results:
        case = make_case(results, "image", 1.0)
        pictures = Pictures(results, replace(case, grid=grid))
        shown = decoded(pictures.original(0, "auto"))
    assert shown.shape[:2] == (round(INNER * 120 * 1.5 / (100 * 3.0)), INNER)


def test_originals_are_decoded_again_and_leave_nothing_behind(tmp_path, cases):
    from dataclasses import replace

    from medcam.readers import index

    values = np.full((120, 100), 60, np.uint8)
    values[60:75, 50:62] = 220
    (tmp_path / "archive").mkdir()
    Image.fromarray(values).save(tmp_path / "archive" / "film.png")
    (series,) = index(tmp_path / "archive").used
    case = replace(cases[0], key="decoded", grid=replace(cases[0].grid, patient_orientation=None))
    with Results.writer(tmp_path / "r") as results:
        results.keep_intake(index(tmp_path / "archive"))
        results.add(case, series, {"key_0.png": png(values)})
        pictures = Pictures(results, results.case("decoded"))
        assert pictures.note == ""
        shown = decoded(pictures.original(0, "auto")).mean(axis=-1)
        bright = np.argwhere(shown > 128)
        assert np.allclose(bright.min(axis=0), [60 * INNER / 120, 50 * INNER / 120], atol=3)
        assert list((tmp_path / "r" / "staging").rglob("*.npy")) == [], "the decoded copy goes with the pictures"
        (tmp_path / "archive" / "film.png").unlink()
        assert "source-missing" in Pictures(results, case).note
