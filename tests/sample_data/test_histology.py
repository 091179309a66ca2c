"""The histology phantoms: stains that deconvolve, nests that are nests, and DICOM that slide readers open."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from sample_data.dicom import Patient, Study, uid
from sample_data.histology import PIXEL_MM, phantom, slide, write, write_slide
from sample_data.phantom import Phantom, stream
from sample_data.section import Section, cells, noise
from sample_data.slide_artefacts import PROBABILITY, spoil
from sample_data.stain import MACENKO, RUIFROK, Stain
from sample_data.tissue import gland

SEEDS = (4, 8, 10, 27)  # nothing but tissue: no artefact, no inflammation
PATIENT = Patient("P1", "Phantom^One", "F", "19600101")
STUDY = Study(uid("test histology"), "1", "20240102", "101010", "Breast biopsy")


@pytest.fixture(scope="module")
def twins() -> list[tuple[Phantom, Phantom]]:
    """Healthy and sick patch of the same tissue."""
    return [(phantom(seed, False), phantom(seed, True)) for seed in SEEDS]


@pytest.fixture(scope="module")
def whole() -> Phantom:
    return slide(3)


def widened(mask: np.ndarray, by: int) -> np.ndarray:
    """The mask and all within `by` pixels of it along rows and columns."""
    for axis in (0, 1):
        mask = np.any([np.roll(mask, shift, axis) for shift in range(-by, by + 1)], axis=0)
    return mask


def test_light_falls_off_by_beer_lambert_and_the_stains_come_back() -> None:
    stain = Stain(RUIFROK / np.linalg.norm(RUIFROK, axis=1, keepdims=True), (1.0, 1.0), np.array([250.0, 245, 240]))
    one = np.ones((1, 1), np.float32)
    by_hand = [250 * 10 ** -(0.65 + 2 * 0.07), 245 * 10 ** -(0.70 + 2 * 0.99), 240 * 10 ** -(0.29 + 2 * 0.11)]
    assert stain.light(stain.density(one, 2 * one))[0, 0] == pytest.approx(by_hand, rel=0.02)
    drawn = Stain.draw(stream(1, "test"))
    hematoxylin, eosin = np.meshgrid(np.linspace(0, 1, 5, dtype=np.float32), np.linspace(0, 1, 4, dtype=np.float32))
    back = drawn.concentrations(drawn.light(drawn.density(hematoxylin, eosin)))
    assert back[0] == pytest.approx(hematoxylin, abs=1e-4)
    assert back[1] == pytest.approx(eosin, abs=1e-4)


def test_laboratories_stay_between_the_published_stains() -> None:
    vectors = np.array([Stain.draw(stream(seed, "test")).vectors for seed in range(100)])
    assert np.linalg.norm(vectors, axis=2) == pytest.approx(1)
    low, high = np.minimum(RUIFROK, MACENKO), np.maximum(RUIFROK, MACENKO)
    assert (vectors > low - 0.1).all()
    assert (vectors < high + 0.1).all()
    assert vectors.std(axis=0).min() > 0.01  # they do differ


def test_deconvolution_by_another_hand_finds_more_hematoxylin_in_the_nests(
    twins: list[tuple[Phantom, Phantom]],
) -> None:
    color = pytest.importorskip("skimage.color")
    for healthy, sick in twins:
        hematoxylin = color.rgb2hed(sick.pixels)[..., 0]
        before = color.rgb2hed(healthy.pixels)[..., 0]
        assert hematoxylin[sick.mask].mean() > 1.8 * before[sick.mask].mean()
        assert hematoxylin[sick.mask].mean() > 1.5 * hematoxylin[~sick.mask].mean()


def test_nests_are_crowded_with_large_uneven_nuclei(twins: list[tuple[Phantom, Phantom]]) -> None:
    measure = pytest.importorskip("skimage.measure")
    color = pytest.importorskip("skimage.color")

    def areas(image: Phantom, where: np.ndarray) -> np.ndarray:
        """Square micrometres of each dark blob that lies in `where`."""
        hematoxylin = color.rgb2hed(image.pixels)[..., 0]
        blobs = measure.label(hematoxylin > 0.5 * np.percentile(hematoxylin, 99.5))
        regions = [r for r in measure.regionprops(blobs) if r.area > 20 and where[tuple(np.int_(r.centroid))]]
        return np.array([region.area * 0.25 for region in regions])

    benign = np.concatenate([areas(healthy, np.ones_like(healthy.mask)) for healthy, _ in twins])
    tumour = np.concatenate([areas(sick, sick.mask) for _, sick in twins])
    assert np.median(tumour) > 1.3 * np.median(benign)
    assert np.percentile(tumour, 80) - np.percentile(tumour, 20) > 1.5 * (
        np.percentile(benign, 80) - np.percentile(benign, 20)
    )


def test_a_gland_has_a_lumen_one_ring_of_nuclei_and_a_membrane() -> None:
    draw = stream(0, "gland")
    section = Section.blank((256, 256), draw)
    taken = np.full((256, 256), -1e3, np.float32)
    gland(section, draw, (128.0, 128.0), 60.0, taken)
    rows, columns = np.nonzero(taken >= 2)
    depth = taken[rows, columns]
    ring = section.hematoxylin[rows, columns]
    assert ring[(depth > 5) & (depth < 13)].mean() > 0.3
    assert ring[depth > 26].max() < 0.05  # the lumen holds no nucleus
    # once round the middle of the epithelium one meets nuclei again and again, at even distances
    middle = np.flatnonzero((depth > 7.5) & (depth < 9.5))
    turn = np.arctan2(rows[middle] - 128, columns[middle] - 128)
    dark = np.histogram(turn, 180, (-np.pi, np.pi), weights=(ring[middle] > 0.5))[0] > 0
    starts = np.flatnonzero(dark & ~np.roll(dark, 1))
    assert 18 <= len(starts) <= 30
    assert np.diff(starts).std() < 0.5 * np.diff(starts).mean()


def test_noise_is_standard_and_longer_along_its_direction() -> None:
    field = noise(stream(0, "noise"), (256, 256), 10, 2, 0.0)
    assert field.mean() == pytest.approx(0, abs=0.2)
    assert field.std() == pytest.approx(1)
    # white noise through a Gaussian of sigma has the correlation exp(-d^2 / 4 sigma^2)
    along = (field[:, :-10] * field[:, 10:]).mean()
    across = (field[:-2] * field[2:]).mean()
    assert along == pytest.approx(np.exp(-0.25), abs=0.12)
    assert across == pytest.approx(np.exp(-0.25), abs=0.12)


def test_each_pixel_belongs_to_its_nearest_seed() -> None:
    seeds, owner, border = cells(stream(0, "cells"), (60, 70), 12.0, 0.4, 0.5)
    pixels = np.stack(np.meshgrid(np.arange(60), np.arange(70), indexing="ij"), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(pixels[:, None] - seeds[None], axis=2)
    assert np.mean(distance.argmin(axis=1) == owner.ravel()) > 0.995
    nearest = np.sort(distance, axis=1)
    assert np.median(np.abs((nearest[:, 1] - nearest[:, 0]) / 2 - border.ravel())) < 0.2


def test_twins_differ_only_where_the_tumour_is(twins: list[tuple[Phantom, Phantom]]) -> None:
    for healthy, sick in twins:
        assert (healthy.label, sick.label) == (0, 1)
        assert healthy.distractors == sick.distractors
        changed = (healthy.pixels != sick.pixels).any(axis=-1)
        assert not changed[~widened(sick.mask, 8)].any()  # a nest's cleft reaches a little beyond it
        assert changed[sick.mask].mean() > 0.98


def test_the_nests_together_are_the_mask(twins: list[tuple[Phantom, Phantom]]) -> None:
    for _, sick in twins:
        covered = np.zeros_like(sick.mask)
        for lesion in sick.lesions:
            (top, left), (bottom, right) = lesion.box
            covered[top:bottom, left:right] = True
            assert lesion.kind == "tumour nest"
            assert 0 < lesion.size_mm <= 256 * PIXEL_MM
        assert covered[sick.mask].all()
        assert sick.mask.mean() > 0.04


def test_artefacts_are_rare_and_as_often_as_they_say() -> None:
    plain = np.full((64, 64, 3), 0.3, np.float32)
    names = [name for seed in range(400) for name in spoil(plain, stream(seed, "test"))[1]]
    for name in ("fold", "bubble", "out of focus", "pen mark"):
        assert names.count(name) / 400 == pytest.approx(PROBABILITY, abs=0.06)


def test_inflammation_does_not_tell_the_label() -> None:
    both = [(phantom(seed, False).distractors, phantom(seed, True).distractors) for seed in range(12)]
    assert all(healthy == sick for healthy, sick in both)
    assert 0 < sum("lymphocytes" in healthy for healthy, _ in both) < 12


@pytest.mark.parametrize("encoding", ["rgb", "jpeg"])
def test_a_patch_file_repeats_byte_by_byte_and_reads_back(encoding: str, tmp_path: Path) -> None:
    patch = phantom(SEEDS[0], True)
    (path,) = write(patch, tmp_path / "a", PATIENT, STUDY, encoding=encoding)
    (again,) = write(phantom(SEEDS[0], True), tmp_path / "b", PATIENT, STUDY, encoding=encoding)
    assert path.read_bytes() == again.read_bytes()
    image = pydicom.dcmread(path)
    assert image.BodyPartExamined == "BREAST"
    assert [float(mm) for mm in image.PixelSpacing] == [0.0005, 0.0005]
    error = np.abs(image.pixel_array.astype(int) - patch.pixels)
    assert error.max() == 0 if encoding == "rgb" else image.PhotometricInterpretation == "YBR_FULL_422"


def test_the_stain_is_told_in_the_specimen_module(tmp_path: Path) -> None:
    (path,) = write(phantom(SEEDS[0], False), tmp_path, PATIENT, STUDY)
    (specimen,) = pydicom.dcmread(path).SpecimenDescriptionSequence
    steps = specimen.SpecimenPreparationSequence[0].SpecimenPreparationStepContentItemSequence
    said = [item.ConceptCodeSequence[0].CodeMeaning for item in steps if item.ValueType == "CODE"]
    assert said == ["Staining", "Hematoxylin stain", "Water soluble eosin stain"]


def test_the_slide_has_glass_tissue_and_tumour_in_parts(whole: Phantom) -> None:
    assert whole.pixels.shape == (2048, 2048, 3)
    glass = (whole.pixels > 225).all(axis=-1)
    assert 0.2 < glass.mean() < 0.8
    assert glass[:40].mean() > 0.99
    assert 0.02 < whole.mask.mean() < 0.3
    assert len(whole.lesions) > 1
    color = pytest.importorskip("skimage.color")
    coarse = color.rgb2hed(whole.pixels[::4, ::4])[..., 0]
    masked = whole.mask[::4, ::4]
    assert coarse[masked].mean() > 1.5 * coarse[~masked & ~glass[::4, ::4]].mean()


@pytest.mark.parametrize("encoding", ["rgb", "jpeg"])
def test_openslide_sees_the_slide_at_its_place(encoding: str, whole: Phantom, tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    (path,) = write_slide(whole, tmp_path, PATIENT, STUDY, encoding=encoding)
    with openslide.OpenSlide(path) as opened:
        assert opened.dimensions == (2048, 2048)
        assert float(opened.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(opened.properties["openslide.mpp-y"]) == pytest.approx(0.5)
        assert opened.properties["openslide.objective-power"] == "20"
        region = np.asarray(opened.read_region((300, 700), 0, (900, 500)).convert("RGB")).astype(int)
    error = np.abs(region - whole.pixels[700:1200, 300:1200])
    assert error.max() == 0 if encoding == "rgb" else error.mean() < 2


def test_highdicom_puts_the_tiles_together(whole: Phantom, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    (path,) = write_slide(whole, tmp_path, PATIENT, STUDY, encoding="rgb")
    image = highdicom.imread(path)
    assert image.is_tiled
    assert (image.get_total_pixel_matrix(apply_icc_profile=False) == whole.pixels).all()
    assert image.ImagedVolumeWidth == pytest.approx(2048 * 0.0005)


def test_an_unknown_encoding_is_refused(tmp_path: Path, twins: list[tuple[Phantom, Phantom]]) -> None:
    with pytest.raises(ValueError, match="rgb or jpeg"):
        write(twins[0][0], tmp_path, PATIENT, STUDY, encoding="png")


@pytest.mark.parametrize("encoding", ["rgb", "jpeg"])
def test_dciodvfy_finds_no_error(
    encoding: str,
    tmp_path: Path,
    twins: list[tuple[Phantom, Phantom]],
    whole: Phantom,
    dicom_errors: Callable[[Path], list[str]],
) -> None:
    (patch,) = write(twins[0][1], tmp_path, PATIENT, STUDY, encoding=encoding)
    (tiled,) = write_slide(whole, tmp_path, PATIENT, STUDY, series_number=2, encoding=encoding)
    assert dicom_errors(patch) == dicom_errors(tiled) == []
