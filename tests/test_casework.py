"""From an answer to a case: key images pixel for pixel, source hashes, the rule for demonstration models, slides."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medcam.casework import OVERVIEW_PIXELS, _key_images, slide_overview
from medcam.findings import Explanation, Region
from medcam.grid import Grid
from medcam.results import Results
from medcam.study import Pixels, Series
from tests.small_dicom import scene, write_dx
from tests.stand_ins import save_stand_in
from tests.world import CT_BLOCK, DX_BLOCK, US_BLOCK, World, by_source


@pytest.fixture(scope="module")
def stored(screened):
    """Cases by kind with their folders, the X-rays by their first."""
    found = by_source(screened[0])
    return {case.kind: (screened[0] / "cases" / case.key, case) for _, case in sorted(found.items(), reverse=True)}


def picture(folder, image):
    return np.asarray(Image.open(folder / image.file)).astype(float)


def windowed(values, window):
    """DICOM's linear window, up to its half units (PS3.3 C.11.2.1.2)."""
    centre, width = window
    return np.clip((values - (centre - width / 2)) / width * 255, 0, 255)


def test_the_key_image_of_a_volume_is_the_slice_of_the_peak_at_the_lung_window(stored, world):
    folder, case = stored["volume"]
    (image,) = case.key_images
    assert image.window == (-600.0, 1500.0)
    assert CT_BLOCK[0].start <= image.index < CT_BLOCK[0].stop
    assert image.index == case.regions[0].peak[0]
    # the file whose own tag says that it lies at the place of this slice
    z = case.grid.position([float(image.index), 0, 0])[2]
    (header,) = [
        header
        for header in map(pydicom.dcmread, (world.folder / "ct").iterdir())
        if abs(float(header.ImagePositionPatient[2]) - z) < 0.01
    ]
    hounsfield = header.pixel_array.astype(float) + header.RescaleIntercept
    assert np.abs(picture(folder, image) - windowed(hounsfield, image.window)).max() <= 1
    assert image.caption == f"slice {image.index + 1} of 30, strongest evidence"


def test_the_key_image_of_a_cine_is_the_frame_of_the_peak(stored, world):
    folder, case = stored["cine"]
    (image,) = case.key_images
    assert US_BLOCK[0].start <= image.index < US_BLOCK[0].stop
    frame = pydicom.dcmread(world.folder / "us").pixel_array[image.index].astype(float)
    assert np.abs(picture(folder, image) - windowed(frame, image.window)).max() <= 1
    assert picture(folder, image)[40, 70] > picture(folder, image)[10, 10] + 80


def test_the_key_image_of_an_x_ray_is_the_whole_image_at_the_stated_window(stored, world, screened):
    folder, case = stored["image"]
    (image,) = case.key_images
    assert image.index is None
    results = Results.open(screened[0])
    source = Path(results.series(case.key).files[0].path)
    results.close()
    values = pydicom.dcmread(source).pixel_array.astype(float)
    assert np.abs(picture(folder, image) - windowed(values, image.window)).max() <= 1
    inside, outside = picture(folder, image)[DX_BLOCK].mean(), picture(folder, image)[:40].mean()
    assert inside > outside + 150


def test_the_source_hash_can_be_had_by_anybody(stored, world):
    slices = sorted((world.folder / "ct").iterdir(), key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2]))
    total = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in slices))
    assert stored["volume"][1].provenance.source_hash == total.hexdigest()
    cine = hashlib.sha256(hashlib.sha256((world.folder / "us").read_bytes()).digest())
    assert stored["cine"][1].provenance.source_hash == cine.hexdigest()


def test_provenance_says_what_ran(stored):
    for _, case in stored.values():
        made = case.provenance
        assert made.pipeline == case.pipeline
        assert {"python", "torch", "monai", "numpy", "pydicom"} <= set(made.libraries)
        assert made.device == "cpu"
        assert made.created.endswith("+00:00")
        assert len(made.model_hash) == len(made.pipeline_hash) == 64
        assert len(made.steps) > 2


# who may decide


@pytest.mark.parametrize(
    ("manufacturer", "demonstration", "words"),
    [
        ("medcam-toolkit", True, "flagged"),
        ("ACME", True, "demonstration only"),
        ("", True, "demonstration only"),
        ("medcam-toolkit 2", True, "demonstration only"),
        ("ACME", False, "flagged"),
    ],
)
def test_a_demonstration_model_decides_about_phantoms_alone(tmp_path, manufacturer, demonstration, words):
    write_dx(tmp_path / "in" / "dx", scene((200, 180), DX_BLOCK), Manufacturer=manufacturer)
    name = "chest_xray_opacity"
    bundle = save_stand_in(tmp_path / "bundle", name, demonstration=demonstration)
    World(tmp_path / "in", {name: bundle}, (name,)).screen(tmp_path / "results")
    (case,) = by_source(tmp_path / "results").values()
    assert case.decision.text == words
    assert case.decision.outcome == "flagged"
    assert case.phantom == (manufacturer == "medcam-toolkit")


# which planes are shown

VOLUME = Grid.of((10, 6, 8), [[0, 0, 1, 0], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]], space="patient", mm_known=True)


def shown(evidence, *peaks, kind="volume"):
    explanation = Explanation("m", "l", "t", "logit", True, True, VOLUME, VOLUME, np.asarray(evidence, np.float32))
    regions = tuple(Region(p, tuple(i + 1 for i in p), p, 1.0, 0.5, 0.5) for p in peaks)
    pixels = Pixels(np.arange(480, dtype=np.float32).reshape(10, 6, 8), VOLUME, False, "HU")
    series = Series("dicom", kind, "CT", (), (), VOLUME, False, {}, None)
    images, pictures = _key_images(series, pixels, explanation, regions)
    assert list(pictures) == [image.file for image in images]
    return [(image.index, image.caption.partition(", ")[2]) for image in images]


def test_regions_of_one_plane_share_its_picture_and_keep_their_numbers():
    ones = np.ones(VOLUME.shape)
    assert shown(ones, (3, 1, 1), (3, 4, 4), (7, 2, 2)) == [(3, "strongest evidence"), (7, "evidence region 3")]
    many = [(index, 1, 1) for index in (5, 1, 2, 3)]
    assert [index for index, _ in shown(ones, *many)] == [5, 1, 2]


def test_without_a_region_the_picture_says_so():
    weak = np.zeros(VOLUME.shape)
    weak[8, 2, 2] = 1e-3
    assert shown(weak) == [(8, "strongest evidence, too weak for a region")]
    assert shown(np.zeros(VOLUME.shape)) == [(5, "in the middle: no evidence for the finding anywhere")]
    assert shown(-np.ones(VOLUME.shape))[0][0] == 5


# slides


def slide(shape, tile, origins, spacing=(0.0005, 0.0005)):
    """White tiles with one red pixel block in the last of them, at its row 4 to 7, column 10 to 13."""
    array = np.full((len(origins), *tile, 3), 230, np.uint8)
    array[-1, 4:8, 10:14] = (200, 0, 0)
    grid = Grid.plane(shape, spacing, space="detector", mm_known=True)
    return Pixels(array, grid, True, "RGB", origins=tuple(origins))


def test_the_overview_of_a_small_slide_is_the_slide_itself():
    overview, grid = slide_overview(slide((60, 80), (20, 30), [(0, 0), (33, 41)]))
    assert overview.shape == (60, 80, 3)
    assert grid.shape == (60, 80)
    red = np.argwhere((overview == (200, 0, 0)).all(-1))
    assert red.min(0).tolist() == [33 + 4, 41 + 10]
    assert red.max(0).tolist() == [33 + 7, 41 + 13]
    assert (overview[25:32] == 255).all()  # glass between the tiles


@pytest.mark.parametrize("origin", [(0, 0), (1001, 2503), (2960, 4000), (2999, 4031)])
def test_the_overview_of_a_large_slide_shows_each_tile_in_its_place(origin):
    whole = slide((3000, 4200), (64, 96), [(512, 512), origin])
    overview, grid = slide_overview(whole)
    assert max(overview.shape[:2]) <= OVERVIEW_PIXELS
    step = whole.grid.shape[1] / grid.shape[1]
    assert step == pytest.approx(3, abs=0.01)
    red = np.argwhere((overview == (200, 0, 0)).all(-1)).astype(float)
    if origin[0] + 8 > 3000:
        assert len(red) <= 2  # beyond the slide's edge there is nothing to show
        return
    # every overview pixel has the colour of the slide at its own place in mm
    at = whole.grid.index(grid.position(red)) - np.array(origin)
    assert ((at >= (4, 10)) & (at <= (7, 13))).all()
    assert len(red) in (1, 2, 4)


def test_the_stored_overview_is_a_picture_with_its_grid():
    whole = slide((60, 80), (20, 30), [(0, 0), (33, 41)])
    series = Series("slide", "slide", "SM", (), (), whole.grid, True, {}, None)
    explanation = Explanation(
        "m", "l", "t", "logit", True, True, whole.grid, whole.grid, np.zeros((60, 80), np.float32)
    )
    (image,), pictures = _key_images(series, whole, explanation, ())
    assert np.asarray(Image.open(io.BytesIO(pictures["overview.png"]))).shape == (60, 80, 3)
    assert image.grid == whole.grid
    assert replace(image, grid=None).window is None
