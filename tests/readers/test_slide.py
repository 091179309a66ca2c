"""Slides: planted tiles come back where they are in millimetres; glass is left out and counted; DICOM and TIFF alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from medcam.errors import BudgetError, InputError
from medcam.grid import Grid
from medcam.readers import SHELF, index, slide
from medcam.readers._tissue import holding_tissue, stained, tiles
from medcam.readers.slide import Slide
from medcam.study import Pixels, Series

READER = Slide()
INK = (150, 60, 120)


def painted(shape: tuple[int, int], boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    """White glass with boxes (top, left, bottom, right) of tissue that darkens to the right and below."""
    picture = np.full((*shape, 3), 244, np.uint8)
    for top, left, bottom, right in boxes:
        rows, columns = np.mgrid[top:bottom, left:right]
        picture[top:bottom, left:right] = INK
        picture[top:bottom, left:right, 1] = 40 + 80 * rows // shape[0] + 80 * columns // shape[1]
    return picture


def pyramid(path: Path, picture: np.ndarray, um: float | None = 0.5, levels: int = 2) -> Path:
    """A tiled TIFF pyramid; TIFF states pixels per centimetre."""
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            step = 2**level
            height, width = (size // step for size in picture.shape[:2])
            part = picture[: height * step, : width * step].reshape(height, step, width, step, 3).mean(axis=(1, 3))
            density = {} if um is None else {"resolution": (1e4 / (um * step),) * 2, "resolutionunit": "CENTIMETER"}
            file.write(
                np.rint(part).astype(np.uint8),
                tile=(128, 128),
                photometric="rgb",
                subfiletype=int(level > 0),
                **density,
            )
    return path


def series(path: Path) -> Series:
    assert READER.recognises(path, path.read_bytes()[:1024])
    (record,) = READER.series([READER.header(path)])
    assert record.series is not None
    return record.series


def read(path: Path) -> tuple[Series, Pixels]:
    found = series(path)
    return found, READER.pixels(found)


BOXES = [(300, 280, 700, 650), (900, 1100, 1000, 1190)]


def test_tiles_hold_the_pixels_of_their_place(tmp_path: Path) -> None:
    picture = painted((1100, 1300), BOXES)
    found, pixels = read(pyramid(tmp_path / "a.tif", picture))
    assert pixels.grid.shape == found.grid.shape == (1100, 1300)
    assert pixels.grid.mm_known
    assert pixels.grid.spacing == pytest.approx((0.0005, 0.0005))
    assert pixels.origins is not None
    for (row, column), tile in zip(pixels.origins, pixels.array, strict=True):
        assert np.array_equal(tile, picture[row : row + 256, column : column + 256])
    covered = np.zeros(picture.shape[:2], bool)
    for row, column in pixels.origins:
        covered[row : row + 256, column : column + 256] = True
    assert covered[300:700, 280:650].all()
    assert covered[900:1000, 1100:1190].all()
    assert pixels.steps[0].startswith(f"{len(pixels.origins)} of 30 tiles read")
    assert len(pixels.origins) < 15


def test_finer_slides_are_averaged_down_and_lie_where_they_lay(tmp_path: Path) -> None:
    """At 0.25 um a tile pixel is the mean of 2 x 2 stored pixels, and its centre lies between theirs."""
    picture = painted((1024, 1536), BOXES)
    _, pixels = read(pyramid(tmp_path / "a.tif", picture, um=0.25, levels=1 + 1))
    assert pixels.grid.shape == (512, 768)
    assert pixels.grid.spacing == pytest.approx((0.0005, 0.0005))
    assert pixels.grid.position((0, 0))[:2] == pytest.approx((0.000125, 0.000125))
    means = picture.reshape(512, 2, 768, 2, 3).mean(axis=(1, 3))
    assert pixels.origins is not None
    for (row, column), tile in zip(pixels.origins, pixels.array, strict=True):
        assert np.abs(tile - means[row : row + 256, column : column + 256]).max() <= 1


def test_too_much_tissue_is_read_coarser_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = painted((1536, 1536), [(0, 0, 1536, 1536)])
    found = series(pyramid(tmp_path / "a.tif", picture))
    assert len(READER.pixels(found).array) == 36
    monkeypatch.setattr(slide, "MOST_TILES", 20)
    pixels = READER.pixels(found)
    assert len(pixels.array) == 9
    assert pixels.grid.spacing == pytest.approx((0.001, 0.001))
    assert "1.000 x 1.000 um" in pixels.steps[1]
    monkeypatch.setattr(slide, "MOST_TILES", 8)
    with pytest.raises(BudgetError, match="9 tiles of tissue, 8 are allowed"):
        READER.pixels(found)


def test_the_overview_shows_the_whole_slide_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide, "OVERVIEW", 300)
    monkeypatch.setattr(slide, "STRIP", 256)
    picture = painted((1100, 1300), BOXES)
    pixels = READER.overview(series(pyramid(tmp_path / "a.tif", picture)))
    assert max(pixels.array.shape) <= 300
    rows, columns = np.nonzero(stained(pixels.array))
    top, left = pixels.grid.position((rows.min(), columns.min()))[1::-1]
    bottom, right = pixels.grid.position((rows.max(), columns.max()))[1::-1]
    step = pixels.grid.spacing[0]
    assert (top, left, bottom, right) == pytest.approx((0.15, 0.14, 0.5, 0.595), abs=step)


def test_a_slide_smaller_than_a_tile_is_one_small_tile(tmp_path: Path) -> None:
    _, pixels = read(pyramid(tmp_path / "a.tif", painted((200, 180), [(10, 10, 190, 170)])))
    assert pixels.array.shape == (1, 200, 180, 3)
    assert pixels.origins == ((0, 0),)


def test_glass_only_pixels_of_unknown_size_and_damage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tissue") as refusal:
        read(pyramid(tmp_path / "glass.tif", painted((600, 600), [])))
    assert refusal.value.code == "empty"
    with pytest.raises(InputError) as refusal:
        read(pyramid(tmp_path / "unknown.tif", painted((600, 600), [(300, 280, 500, 550)]), um=None))
    assert refusal.value.code == "no-geometry"
    (tmp_path / "noise.svs").write_bytes(b"II*\0" + bytes(range(256)) * 4)
    with pytest.raises(InputError) as refusal:
        READER.header(tmp_path / "noise.svs")
    assert refusal.value.code == "malformed"
    whole = pyramid(tmp_path / "whole.tif", np.random.default_rng(0).integers(0, 200, (600, 600, 3), dtype=np.uint8))
    data = whole.read_bytes()
    found = series(whole)
    whole.write_bytes(data[:1000] + data[1000 : len(data) // 3])
    with pytest.raises(InputError) as refusal:
        READER.pixels(found)
    assert refusal.value.code in ("malformed", "decode-failed")


def test_a_slide_that_is_not_as_its_header_said_is_refused(tmp_path: Path) -> None:
    found = series(pyramid(tmp_path / "a.tif", painted((600, 600), [(300, 280, 500, 550)])))
    other = replace(found, grid=Grid.plane((601, 600), (0.0005, 0.0005), mm_known=True))
    with pytest.raises(InputError) as refusal:
        READER.pixels(other)
    assert refusal.value.code == "mixed-geometry"


def test_tiles_cover_everything_and_never_reach_outside() -> None:
    for shape in ((256, 256), (257, 700), (1000, 300)):
        seen = np.zeros(shape, bool)
        for row, column in tiles(shape, (256, 256)):
            assert row + 256 <= shape[0]
            assert column + 256 <= shape[1]
            seen[row : row + 256, column : column + 256] = True
        assert seen.all()


def test_faint_tissue_is_kept_and_clean_glass_is_not() -> None:
    overview = np.full((40, 60, 3), 240, np.uint8)
    overview += np.random.default_rng(0).integers(0, 6, overview.shape, dtype=np.uint8)  # noise of a scanner
    assert not stained(overview).any()
    overview[10:13, 20:23] = (235, 200, 225)
    mask = stained(overview)
    assert mask.sum() == 9
    assert holding_tissue(mask, (400, 600), (100, 100)) == [(100, 200)]


def test_slides_of_dicom_come_through_the_index(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "wsi" / "highdicom"
    (found,) = [s for s in index(folder / "sm_image_numbers.dcm").used if s.kind == "slide"]
    assert found.reader == "slide"
    pixels = SHELF.load("slide")().pixels(found)
    theirs = openslide.OpenSlide(folder / "sm_image_numbers.dcm").read_region((0, 0), 0, (50, 50)).convert("RGB")
    assert np.array_equal(pixels.array[0], np.asarray(theirs))
    assert pixels.grid.mm_known


def test_a_real_slide_keeps_its_tissue_at_its_place(shared_data: Path) -> None:
    path = shared_data / "histology" / "wsi" / "cmu-1-small-region.svs"
    found, pixels = read(path)
    assert found.modality == "SM"
    with Image.open(path) as file:
        whole = np.asarray(file.convert("RGB"))
    assert pixels.grid.shape == whole.shape[:2]
    assert pixels.grid.spacing == pytest.approx((0.000499, 0.000499))
    assert pixels.origins is not None
    assert 40 < len(pixels.origins) < 108
    for (row, column), tile in list(zip(pixels.origins, pixels.array, strict=True))[::10]:
        other = whole[row : row + 256, column : column + 256]
        assert np.abs(tile.astype(int) - other).max() <= 8  # another JPEG decoder
    covered = np.zeros(whole.shape[:2], bool)
    for row, column in pixels.origins:
        covered[row : row + 256, column : column + 256] = True
    dark = whole.max(axis=-1) < 150
    assert covered[dark].mean() > 0.999
    assert not any(name in str(found.facts) for name in ("label", "macro"))


def test_only_the_picture_of_the_slide_is_read_never_its_label(shared_data: Path) -> None:
    """Labels and overviews can show the patient's name; the overview here is made from the slide itself."""
    path = shared_data / "histology" / "wsi" / "cmu-1-small-region.svs"
    picture = READER.overview(series(path)).array
    with openslide.OpenSlide(path) as theirs:
        expected = np.asarray(
            theirs.read_region((0, 0), 0, theirs.dimensions)
            .convert("RGB")
            .resize((picture.shape[1], picture.shape[0]), Image.Resampling.BOX)
        )
    assert np.abs(picture.astype(int) - expected).mean() < 3
