"""The lung ultrasound phantoms: physics, truth, and DICOM that independent readers understand."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_fragments

from sample_data.convex import COLUMNS, ROWS, Convex, white
from sample_data.dicom import Patient, Study, uid
from sample_data.intercostal_view import Chest
from sample_data.lung_ultrasound import Cine, MovingLesion, phantom, write
from sample_data.phantom import stream
from sample_data.ultrasound_screen import furnish

LINES_SEED, SOLID_SEED, CLEAR_SEED = 0, 6, 12
PATIENT = Patient("P1", "Phantom^One", "F", "19600101")
STUDY = Study(uid("test ultrasound"), "1", "20240102", "101010", "Lung ultrasound")


@pytest.fixture(scope="module")
def twins() -> dict[int, tuple[Cine, Cine]]:
    """Healthy and sick cine of the same chest, by seed."""
    return {seed: (phantom(seed, False), phantom(seed, True)) for seed in (LINES_SEED, SOLID_SEED)}


def probe_pixels(cine: Cine, angles: np.ndarray, depths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (depths, angles) of the nearest pixels, by the probe's geometry written out again."""
    reach = cine.probe.radius + depths[:, None]
    rows = 13 + (reach * np.cos(angles) - cine.probe.radius * np.cos(cine.probe.half_angle)) / cine.spacing[0]
    columns = (COLUMNS - 1) / 2 + reach * np.sin(angles) / cine.spacing[1]
    return np.rint(rows).astype(int), np.rint(columns).astype(int)


def at_depth(cine: Cine, frame: int, angles: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """(depths, angles) grey levels."""
    return cine.pixels[frame, :, :, 0][probe_pixels(cine, angles, depths)].astype(float)


def test_homogeneous_scatterers_make_fully_developed_speckle() -> None:
    envelope = np.abs(Convex(55, np.deg2rad(30), 100).echo(white(stream(0, "test"))))[20:-20, 20:-20]
    assert envelope.mean() / envelope.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)  # 1.91
    assert (envelope**2).mean() == pytest.approx(1, rel=0.05)
    # Rayleigh: the median, and the share above twice the mean power
    assert np.median(envelope**2) == pytest.approx(np.log(2), rel=0.05)
    assert (envelope**2 > 2).mean() == pytest.approx(np.exp(-2), rel=0.08)


def test_a_lines_repeat_at_the_depth_of_the_pleura() -> None:
    cine, chest = phantom(CLEAR_SEED, False), Chest.of_seed(CLEAR_SEED)
    depths = np.arange(0, chest.probe.depth - 1, 0.25)
    window = np.deg2rad(np.linspace(-2, 2, 9))
    profile = np.mean([at_depth(cine, t, window, depths) for t in range(len(cine.pixels))], axis=(0, 2))
    expected = float(np.interp(0, chest.probe.angles, chest.pleura))
    peaks = []
    for order in (1, 2, 3):
        near = np.abs(depths - order * expected) < 4
        peaks.append(depths[near][profile[near].argmax()])
        around = (np.abs(depths - peaks[-1]) > 3) & (np.abs(depths - peaks[-1]) < 7)
        assert profile[near].max() > profile[around].max() + 8
    assert np.diff(peaks) == pytest.approx([peaks[0], peaks[0]], abs=1)
    assert peaks[0] == pytest.approx(expected, abs=0.8)


def test_b_lines_are_bright_to_the_bottom_and_erase_a_lines(twins: dict[int, tuple[Cine, Cine]]) -> None:
    healthy, sick = twins[LINES_SEED]
    assert {lesion.kind for lesion in sick.lesions} == {"B-line"}
    assert len(sick.lesions) >= 3
    deep = sick.mask & (np.arange(ROWS)[:, None] > ROWS * 0.6)
    assert sick.pixels[deep].mean() > healthy.pixels[deep].mean() + 25
    beside = sick.probe.sector & ~sick.mask & (np.arange(ROWS)[:, None] > ROWS * 0.6)
    assert sick.pixels[deep].mean() > sick.pixels[beside].mean() + 25


def test_a_consolidation_is_dark_between_a_pleura_and_a_bright_torn_border(twins: dict[int, tuple[Cine, Cine]]) -> None:
    healthy, sick = twins[SOLID_SEED]
    solid = next(lesion for lesion in sick.lesions if lesion.kind == "consolidation")
    (first, top, left), (_, bottom, right) = solid.box
    inside = sick.mask[first, top:bottom, left:right]
    grey, before = (cine.pixels[first, top:bottom, left:right, 0].astype(float) for cine in (sick, healthy))
    middle = inside & np.roll(inside, 3, 0) & np.roll(inside, -3, 0) & np.roll(inside, 3, 1) & np.roll(inside, -3, 1)
    assert np.median(grey[middle]) < np.median(before[middle]) - 20
    border = inside & ~np.roll(inside, -2, 0)
    assert grey[border].mean() > grey[middle].mean() + 20
    deepest = [np.nonzero(column)[0].max() for column in inside.T if column.any()]
    assert np.abs(np.diff(deepest, 2)).max() >= 2  # shredded, not smooth


def test_the_lesion_moves_with_the_sliding_lung(twins: dict[int, tuple[Cine, Cine]]) -> None:
    healthy, sick = twins[LINES_SEED]
    probe, chest = healthy.probe, Chest.of_seed(LINES_SEED)
    window = np.deg2rad(np.arange(-7, 7, 0.1))
    depths = np.arange(2.5, 12, 0.4) + float(chest.pleura.mean())

    def texture(frame: int) -> np.ndarray:
        """Speckle under the pleura of the healthy twin, free of the mean in each depth."""
        strip = at_depth(healthy, frame, window, depths)
        return strip - strip.mean(axis=1, keepdims=True)

    def slid(earlier: int, later: int) -> float:
        """Lateral displacement in degrees, from the pixels alone."""
        a, b = texture(earlier), texture(later)
        shifts = np.arange(-35, 36)
        match = [(a[:, 40:-40] * b[:, 40 + s : len(window) - 40 + s]).mean() for s in shifts]
        return float(shifts[int(np.argmax(match))]) * 0.1

    # the B-line nearest to the axis, followed along an arc deep under the pleura: the middle of its run of masked pixels
    fine = np.deg2rad(np.arange(-9, 9, 0.02))
    row, column = probe_pixels(sick, fine, np.array([probe.depth * 0.8]))
    places = [0.0]
    for masked in sick.mask[:, row[0], column[0]]:
        edges = np.flatnonzero(np.diff(np.pad(masked.astype(int), 1)))
        middles = np.rad2deg(fine[0]) + 0.02 * edges.reshape(-1, 2).mean(axis=1)
        places.append(float(middles[np.abs(middles - places[-1]).argmin()]))
    places = places[1:]
    starts = range(0, len(places) - 4, 4)
    moved = [places[t + 4] - places[t] for t in starts]
    assert np.ptp(places) > 1.5
    assert [slid(t, t + 4) for t in starts] == pytest.approx(moved, abs=0.25)


def test_the_twins_differ_by_the_lesion_alone(twins: dict[int, tuple[Cine, Cine]]) -> None:
    for seed, (healthy, sick) in twins.items():
        assert not healthy.mask.any()
        assert healthy.distractors == sick.distractors
        changed = (healthy.pixels != sick.pixels).any(axis=(0, 3))
        chest, probe = Chest.of_seed(seed), sick.probe
        x = (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * probe.pixel_mm
        y = probe.radius * np.cos(probe.half_angle) + (np.arange(ROWS)[:, None] - 13) * probe.pixel_mm
        below = np.hypot(x, y) - probe.radius - np.interp(np.arctan2(x, y), probe.angles, chest.pleura)
        assert not changed[below < -4].any()  # the chest wall, and all around the sector
        assert not changed[~probe.sector].any()
        assert changed[sick.mask.any(axis=0)].mean() > 0.9


def test_the_track_is_the_box_of_the_mask_in_each_frame() -> None:
    mask = np.zeros((3, 20, 30), bool)
    mask[0, 4:9, 5:7] = mask[2, 5:11, 6:9] = True
    lesion = MovingLesion.of_mask("B-line", mask, 4.0)
    assert lesion.boxes == (((4, 5), (9, 7)), None, ((5, 6), (11, 9)))
    assert lesion.box == ((0, 4, 5), (3, 11, 9))


def test_distractors_are_as_frequent_as_a_coin_and_blind_to_the_label() -> None:
    probe = Convex(55, np.deg2rad(30), 100)
    blank = np.zeros((1, ROWS, COLUMNS), np.uint8)
    drawn = [furnish(blank, probe, seed) for seed in range(200)]
    for name in ("text", "depth ruler", "logo", "probe mark"):
        assert 75 <= sum(name in names for _, names in drawn) <= 125
    for pixels, names in drawn:
        assert pixels.any() == bool(names)
        assert not pixels[0][probe.sector].any()  # never over tissue


@pytest.mark.parametrize("encoding", ["rgb", "jpeg", "monochrome"])
def test_the_file_says_when_and_where_and_repeats_byte_by_byte(encoding: str, tmp_path: Path) -> None:
    cine = phantom(LINES_SEED, True)
    (path,) = write(cine, tmp_path / "a", PATIENT, STUDY, encoding=encoding)
    (again,) = write(phantom(LINES_SEED, True), tmp_path / "b", PATIENT, STUDY, encoding=encoding)
    assert path.read_bytes() == again.read_bytes()
    image = pydicom.dcmread(path)
    assert float(image.FrameTime) * np.arange(len(cine.pixels)) / 1000 == pytest.approx(cine.frame_times_s)
    assert 40 <= image.FrameTime <= 66
    assert image.BodyPartExamined == "LUNG"
    (region,) = image.SequenceOfUltrasoundRegions
    assert (region.RegionSpatialFormat, region.RegionDataType) == (1, 1)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    # the region holds the whole sector, and its height on the axis is the depth that the probe sees
    x0, x1, y0, y1 = (region[f"RegionLocation{k}"].value for k in ("MinX0", "MaxX1", "MinY0", "MaxY1"))
    outside = cine.probe.sector.copy()
    outside[y0 : y1 + 1, x0 : x1 + 1] = False
    assert not outside.any()
    axis = np.nonzero(cine.probe.sector[:, COLUMNS // 2])[0]
    assert (np.ptp(axis) + 1) * region.PhysicalDeltaY * 10 == pytest.approx(cine.probe.depth, abs=1)
    reach = cine.probe.radius + cine.probe.depth
    assert (x1 - x0 + 1) * region.PhysicalDeltaX * 10 == pytest.approx(
        2 * reach * np.sin(cine.probe.half_angle), abs=1.5
    )


def test_uncompressed_pixels_come_back_exactly(tmp_path: Path, twins: dict[int, tuple[Cine, Cine]]) -> None:
    cine = twins[SOLID_SEED][1]
    (path,) = write(cine, tmp_path, PATIENT, STUDY)
    assert (pydicom.dcmread(path).pixel_array == cine.pixels).all()
    (path,) = write(cine, tmp_path, PATIENT, STUDY, encoding="monochrome")
    grey = pydicom.dcmread(path).pixel_array
    luma = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in cine.pixels]).astype(int)
    assert np.abs(grey - luma).max() <= 1


def test_jpeg_frames_are_read_by_pillow_and_by_ffmpeg(tmp_path: Path, twins: dict[int, tuple[Cine, Cine]]) -> None:
    av = pytest.importorskip("av")
    cine = twins[SOLID_SEED][1]
    (path,) = write(cine, tmp_path, PATIENT, STUDY, encoding="jpeg")
    image = pydicom.dcmread(path)
    assert image.PhotometricInterpretation == "YBR_FULL_422"
    assert image.LossyImageCompression == "01"
    _, *fragments = generate_fragments(image.PixelData)  # the first item is the offset table
    assert len(fragments) == image.NumberOfFrames == len(cine.pixels)
    for frame, stream_bytes in list(zip(cine.pixels, fragments, strict=True))[::8]:
        with Image.open(io.BytesIO(stream_bytes)) as picture:
            assert picture.size == (image.Columns, image.Rows)
            by_pillow = np.asarray(picture.convert("RGB")).astype(int)
        with av.open(io.BytesIO(stream_bytes), format="jpeg_pipe") as container:
            by_ffmpeg = next(container.decode(video=0)).to_ndarray(format="gray").astype(int)
        assert np.abs(by_pillow - frame).mean() < 3
        assert np.abs(by_ffmpeg - np.asarray(Image.fromarray(frame).convert("L")).astype(int)).mean() < 6


def test_an_unknown_encoding_is_refused(tmp_path: Path, twins: dict[int, tuple[Cine, Cine]]) -> None:
    with pytest.raises(ValueError, match="rgb, jpeg or monochrome"):
        write(twins[SOLID_SEED][0], tmp_path, PATIENT, STUDY, encoding="mpeg")
    assert not list(tmp_path.rglob("*.dcm"))


@pytest.mark.parametrize("encoding", ["rgb", "jpeg", "monochrome"])
def test_dciodvfy_finds_no_error(
    encoding: str, tmp_path: Path, twins: dict[int, tuple[Cine, Cine]], dicom_errors: Callable[[Path], list[str]]
) -> None:
    (path,) = write(twins[SOLID_SEED][1], tmp_path, PATIENT, STUDY, encoding=encoding)
    assert dicom_errors(path) == []
