"""A zoo of series: each sound one becomes the right volume, each unsafe one is refused by its code."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage, generate_uid

from medcam.readers.dicom import Dicom
from medcam.study import Series, SeriesRecord
from tests.readers.dicom_zoo import (
    AXIAL,
    COLUMN_MM,
    CORONAL,
    ROW_MM,
    SAGITTAL,
    ct_series,
    enhanced_ct,
    headers,
    image,
    item,
    radiograph,
    records,
    save,
    ultrasound,
)


def along_z(*heights: float) -> list[tuple[float, float, float]]:
    return [(0.0, 0.0, z) for z in heights]


def put(**elements: object) -> Callable[[Dataset, int], None]:
    """Sets elements; a list of the length of the series gives each slice its own value."""

    def edit(dataset: Dataset, number: int) -> None:
        for keyword, value in elements.items():
            setattr(dataset, keyword, value(number) if callable(value) else value)

    return edit


def localiser_first(dataset: Dataset, number: int) -> None:
    if number == 0:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.ImageOrientationPatient = list(SAGITTAL)


def without(keyword: str) -> Callable[[Dataset, int], None]:
    def edit(dataset: Dataset, number: int) -> None:
        if number == 2:
            delattr(dataset, keyword)

    return edit


SHEARED = [(0.0, 2.0 * n * np.tan(np.radians(20)), 2.0 * n) for n in range(6)]

ZOO = {
    "missing slice": ("missing-slices", along_z(0, 2, 4, 8, 10), AXIAL, None),
    "uneven by 2 %": ("missing-slices", along_z(0, 2, 4.04, 6, 8), AXIAL, None),
    "two slices at one place": ("duplicate-positions", along_z(0, 2, 2, 4, 6, 8), AXIAL, None),
    "gantry tilt of 20 degrees": ("gantry-tilt", SHEARED, AXIAL, None),
    "tilt in the tag only": ("gantry-tilt", along_z(0, 2, 4), AXIAL, put(GantryDetectorTilt=15)),
    "one slice moved sideways": ("gantry-tilt", [(0, 0, 0), (0, 0, 2), (3, 0, 4), (0, 0, 6)], AXIAL, None),
    "two time points by acquisition": (
        "mixed-times",
        along_z(0, 2, 4, 0, 2, 4),
        AXIAL,
        put(AcquisitionNumber=lambda n: n // 3 + 1),
    ),
    "two phases": (
        "mixed-times",
        along_z(0, 2, 4, 0, 2, 4),
        AXIAL,
        put(NominalPercentageOfCardiacPhase=lambda n: 40.0 * (n // 3)),
    ),
    "two echoes, one after the other": (
        "mixed-times",
        along_z(0, 0, 2, 2),
        AXIAL,
        put(EchoNumbers=lambda n: n % 2 + 1),
    ),
    "four time points of one slice": (
        "mixed-times",
        along_z(0, 0, 0, 0),
        AXIAL,
        put(TemporalPositionIdentifier=lambda n: n + 1),
    ),
    "half of another size": ("mixed-geometry", along_z(0, 2, 4, 6), AXIAL, put(PixelSpacing=lambda n: [1 + n % 2] * 2)),
    "three orientations": (
        "mixed-geometry",
        along_z(0, 2, 4),
        AXIAL,
        put(ImageOrientationPatient=lambda n: list((AXIAL, SAGITTAL, CORONAL)[n])),
    ),
    "two frames of reference": (
        "mixed-frame-of-reference",
        along_z(0, 2, 4, 6),
        AXIAL,
        put(FrameOfReferenceUID=lambda n: f"2.25.{n // 2}"),
    ),
    "no position": ("no-geometry", along_z(0, 2, 4), AXIAL, without("ImagePositionPatient")),
    "no spacing": ("no-geometry", along_z(0, 2, 4), AXIAL, put(PixelSpacing=[0, 0])),
    "no unit vectors": ("no-geometry", along_z(0, 2, 4), (1, 0, 0, 1, 0, 0), None),
    "position is no number": ("no-geometry", along_z(0, 2, 4), AXIAL, put(ImagePositionPatient=[0, 0, float("inf")])),
    "colour in a volume": ("photometric", along_z(0, 2), AXIAL, put(PhotometricInterpretation="PALETTE COLOR")),
    "one slice cut short": (
        "truncated",
        along_z(0, 2, 4),
        AXIAL,
        put(PixelData=lambda n: b"\0" * (48 if n < 2 else 20)),
    ),
}


@pytest.mark.parametrize("name", ZOO)
def test_unsafe_series_is_refused_by_its_code(name: str, tmp_path: Path) -> None:
    code, positions, orientation, edit = ZOO[name]
    (record,) = records(ct_series(tmp_path, positions, orientation, edit))
    assert (record.status, record.reason.code) == ("refused", code)
    assert len(record.reason.detail) > 10


SOUND = {
    "axial": (along_z(0, 2, 4, 6), AXIAL),
    "head first or feet first": (along_z(6, 4, 2, 0), AXIAL),
    "in no order": (along_z(4, 0, 6, 2), AXIAL),
    "sagittal": ([(3.0 * n, 5, 7) for n in range(5)], SAGITTAL),
    "coronal": ([(5, -3.0 * n, 7) for n in range(5)], CORONAL),
    "rounded to a hundredth": (along_z(0, 1.67, 3.33, 5.0, 6.67), AXIAL),
    "one slice": (along_z(12.5), AXIAL),
}
COSINES = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
SOUND["oblique"] = ([tuple(4.0 * n * np.cross(COSINES[:3], COSINES[3:])) for n in range(4)], COSINES)


@pytest.mark.parametrize("name", SOUND)
def test_every_slice_of_a_sound_series_lies_where_its_header_says(name: str, tmp_path: Path) -> None:
    positions, orientation = SOUND[name]
    (record,) = records(ct_series(tmp_path, positions, orientation))
    series = used(record)
    pixels = Dicom().pixels(series)
    normal = np.cross(orientation[:3], orientation[3:])
    heights = []
    for index in range(len(positions)):
        source, frame = series.source(index)
        header = pydicom.dcmread(source.path)
        assert (frame, source.sop_instance_uid) == (0, header.SOPInstanceUID)
        assert (pixels.array[index] == 10 * (header.InstanceNumber - 1) - 1024).all()
        for h, w in ((0, 0), (3, 5)):
            lps = np.array(header.ImagePositionPatient) + w * COLUMN_MM * np.array(orientation[:3])
            lps = lps + h * ROW_MM * np.array(orientation[3:])
            np.testing.assert_allclose(series.grid.position((index, h, w)), lps * (-1, -1, 1), atol=0.011)
        heights.append(float(np.array(header.ImagePositionPatient) @ normal))
    assert heights == sorted(heights)


def used(record: SeriesRecord) -> Series:
    assert record.series is not None, record.reason
    return record.series


@pytest.mark.parametrize("name", ["axial", "in no order", "sagittal", "coronal", "oblique"])
def test_agrees_with_simpleitk_where_that_is_right(name: str, tmp_path: Path) -> None:
    positions, orientation = SOUND[name]
    grid = used(*records(ct_series(tmp_path, positions, orientation))).grid
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    volume = reader.Execute()
    d, h, w = (size - 1 for size in grid.shape)
    ours = {tuple(np.round(grid.position((d * a, h * b, w * c)), 3)) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    corners = [
        volume.TransformIndexToPhysicalPoint((w * c, h * b, d * a)) for a in (0, 1) for b in (0, 1) for c in (0, 1)
    ]
    theirs = {tuple(np.round(np.array(corner) * (-1, -1, 1), 3)) for corner in corners}
    assert ours == theirs


def test_shows_a_patient_from_the_front_and_from_below_as_radiologists_do(tmp_path: Path) -> None:
    assert used(*records(ct_series(tmp_path / "a", along_z(0, 2)))).grid.sides() == ("R", "L", "A", "P")
    coronal = ct_series(tmp_path / "c", [(0, 2.0 * n, 0) for n in range(3)], CORONAL)
    assert used(*records(coronal)).grid.sides() == ("R", "L", "S", "I")


def test_the_thickness_of_a_slice_on_its_own_is_its_extent(tmp_path: Path) -> None:
    grid = used(*records(ct_series(tmp_path, along_z(7), AXIAL, put(SliceThickness=5)))).grid
    np.testing.assert_allclose(grid.spacing, (5, ROW_MM, COLUMN_MM))


def test_a_localiser_inside_is_left_out_and_the_rest_kept(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, along_z(50, 2, 4, 6), AXIAL, localiser_first)
    by_status = {record.status: record for record in records(paths)}
    assert by_status["skipped"].reason.code == "localiser"
    assert by_status["skipped"].files == (str(paths[0]),)
    assert used(by_status["used"]).grid.shape[0] == 3


def test_an_unnamed_scout_among_slices_is_refused_and_the_rest_kept(tmp_path: Path) -> None:
    def turn(dataset: Dataset, number: int) -> None:
        if number == 1:
            dataset.ImageOrientationPatient = list(CORONAL)

    paths = ct_series(tmp_path, along_z(0, 99, 2, 4), AXIAL, turn)
    by_status = {record.status: record for record in records(paths)}
    assert by_status["refused"].reason.code == "mixed-geometry"
    assert by_status["refused"].files == (str(paths[1]),)
    assert len(used(by_status["used"]).files) == 3


def test_exact_copies_are_used_once(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, along_z(0, 2, 4))
    copied = tmp_path / "copy of 001"
    copied.write_bytes(paths[1].read_bytes())
    by_status = {record.status: record for record in records([*paths, copied])}
    assert by_status["skipped"].reason.code == "duplicate"
    assert by_status["skipped"].files == (str(copied),)
    assert len(used(by_status["used"]).files) == 3


def test_different_objects_with_one_uid_are_all_refused(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, along_z(0, 2, 4), AXIAL, put(SOPInstanceUID="2.25.1"))
    (record,) = records(paths)
    assert (record.status, record.reason.code) == ("refused", "conflicting-copies")


def test_files_without_series_uid_go_by_their_folder(tmp_path: Path) -> None:
    forget = put(SeriesInstanceUID="", StudyInstanceUID="")
    paths = ct_series(tmp_path / "a", along_z(0, 2, 4), AXIAL, forget)
    paths += ct_series(tmp_path / "b", along_z(0, 2), AXIAL, forget)
    assert sorted(used(record).grid.shape[0] for record in records(paths)) == [2, 3]


def test_patients_are_never_mixed_even_if_they_share_uids(tmp_path: Path) -> None:
    mixed = ct_series(tmp_path, along_z(0, 2, 4, 6), AXIAL, put(PatientID=lambda n: f"P{n // 2}"))
    assert [used(record).grid.shape[0] for record in records(mixed)] == [2, 2]


@pytest.mark.parametrize(
    ("image_type", "code"),
    [
        (["DERIVED", "SECONDARY", "AXIAL"], "derived"),
        (["DERIVED", "PRIMARY", "MPR"], "derived"),
        (["DERIVED", "SECONDARY", "SCREEN SAVE"], "derived"),
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "localiser"),
    ],
)
def test_what_is_not_a_source_image_is_skipped(image_type: list[str], code: str, tmp_path: Path) -> None:
    (record,) = records(ct_series(tmp_path, along_z(0, 2), AXIAL, put(ImageType=image_type)))
    assert (record.status, record.reason.code) == ("skipped", code)


def test_objects_that_are_no_images_are_skipped(tmp_path: Path) -> None:
    values = np.zeros((4, 4), np.uint8)
    report = image(ComprehensiveSRStorage, values, Modality="SR")
    del report.PixelData
    objects = {
        "no-pixels": report,
        "segmentation": image("1.2.840.10008.5.1.4.1.1.66.4", values, Modality="SEG"),
        "other-object": image("1.2.840.10008.5.1.4.1.1.481.2", values, Modality="RTDOSE"),
        "derived": image(SecondaryCaptureImageStorage, values, Modality="CT", BodyPartExamined="CHEST"),
    }
    paths = [save(dataset, tmp_path / code) for code, dataset in objects.items()]
    assert {Path(r.files[0]).name: (r.status, r.reason.code) for r in records(paths)} == {
        code: ("skipped", code) for code in objects
    }


def test_a_converted_radiograph_is_used_if_it_says_what_it_shows(tmp_path: Path) -> None:
    film = image(SecondaryCaptureImageStorage, np.zeros((4, 4), np.uint8), Modality="CR", ConversionType="WSD")
    assert records([save(film, tmp_path / "a")])[0].status == "skipped"
    film.BodyPartExamined, film.SOPInstanceUID = "CHEST", generate_uid()
    assert used(*records([save(film, tmp_path / "b")])).kind == "image"
    film.ConversionType, film.SOPInstanceUID = "SD", generate_uid()
    assert records([save(film, tmp_path / "c")])[0].status == "skipped"


def test_facts_name_anatomy_and_view_but_nobody(tmp_path: Path) -> None:
    view = item(CodeValue="R-10214", CodeMeaning="Postero-anterior")
    region = item(CodeValue="T-D3000", CodeMeaning="Chest")
    chest = radiograph(np.zeros((4, 4), np.uint16), ViewCodeSequence=view, AnatomicRegionSequence=region)
    chest.SeriesDescription, chest.PatientOrientation = "Planted description", ["L", "F"]
    chest.ImagerPixelSpacing, chest.StudyDate = [0.2, 0.1], "20200101"
    series = used(*records([save(chest, tmp_path / "x")]))
    assert (series.facts["BodyPartExamined"], series.facts["ViewPosition"]) == ("CHEST", "PA")
    assert series.facts["SpacingFrom"] == "ImagerPixelSpacing"
    assert (series.grid.space, series.grid.mm_known, series.grid.spacing) == ("detector", True, (0.2, 0.1))
    assert series.grid.sides() == ("R", "L", "H", "F")
    told = repr(series.facts)
    assert not any(secret in told for secret in ("Planted", "20200101", "Z-1", chest.StudyInstanceUID))
    assert series.identifiers.patient_name == "Planted^Name"


@pytest.mark.parametrize(
    ("elements", "times", "said"),
    [
        ({"FrameTime": 40}, (0, 0.04, 0.08), "FrameTime"),
        ({"FrameTimeVector": [0, 40, 60], "FrameTime": 10}, (0, 0.04, 0.1), "FrameTimeVector"),
        ({"CineRate": 50}, (0, 0.02, 0.04), "CineRate"),
        ({"RecommendedDisplayFrameRate": 10}, (0, 0.1, 0.2), "RecommendedDisplayFrameRate"),
        ({}, (0, 1, 2), "none"),
    ],
)
def test_frames_of_a_cine_have_their_seconds(
    elements: dict[str, object], times: Sequence[float], said: str, tmp_path: Path
) -> None:
    cine = used(*records([save(ultrasound(np.zeros((3, 4, 4), np.uint8), **elements), tmp_path / "x")]))
    assert (cine.kind, cine.facts["FrameTimesFrom"]) == ("cine", said)
    np.testing.assert_allclose(cine.grid.frame_times_s, times)
    assert cine.source(2) == (cine.files[0], 2)


def region(x0: int, y0: int, x1: int, y1: int, delta: float = 0.05, units: int = 3) -> Dataset:
    box = item(
        RegionSpatialFormat=1,
        RegionDataType=1,
        PhysicalUnitsXDirection=units,
        PhysicalUnitsYDirection=units,
        PhysicalDeltaX=delta,
        PhysicalDeltaY=-2 * delta,
    )[0]
    box.RegionLocationMinX0, box.RegionLocationMinY0, box.RegionLocationMaxX1, box.RegionLocationMaxY1 = x0, y0, x1, y1
    return box


@pytest.mark.parametrize(
    ("regions", "known", "box"),
    [
        ([region(2, 1, 17, 8)], True, "2\\1\\17\\8"),
        ([region(2, 1, 20, 8)], True, "2\\1\\19\\8"),  # one beyond the last column
        ([region(2, 1, 60, 40)], False, "2\\1\\19\\9"),  # made for another frame size
        ([region(0, 0, 9, 9), region(10, 0, 19, 9)], True, "0\\0\\19\\9"),
        ([region(0, 0, 9, 9), region(10, 0, 19, 9, 0.1)], False, "0\\0\\19\\9"),  # two scales in one frame
        ([region(2, 1, 17, 8, units=4)], False, None),  # seconds, not centimetres
        ([], False, None),
    ],
)
def test_ultrasound_regions_give_millimetres_only_where_they_can(
    regions: list[Dataset], known: bool, box: str | None, tmp_path: Path
) -> None:
    still = ultrasound(np.zeros((10, 20), np.uint8), SequenceOfUltrasoundRegions=regions)
    series = used(*records([save(still, tmp_path / "x")]))
    assert (series.kind, series.grid.mm_known, series.facts.get("UltrasoundRegion")) == ("image", known, box)
    np.testing.assert_allclose(series.grid.spacing, (1.0, 0.5) if known else (1, 1))


def enhanced_parts(folder: Path, total: int) -> list[Path]:
    """Three parts of a concatenation, two frames each."""
    paths = []
    for part in range(3):
        positions = along_z(*(2.0 * (2 * part + frame) for frame in range(2)))
        values = np.full((2, 4, 6), part, np.int16)
        dataset = enhanced_ct(positions, values, ConcatenationUID="2.25.99", InConcatenationTotalNumber=total)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "2.25.3", "2.25.4"
        dataset.InConcatenationNumber, dataset.ConcatenationFrameOffsetNumber = part + 1, 2 * part
        paths.append(save(dataset, folder / f"part{part}"))
    return paths


def test_all_parts_of_a_concatenation_are_one_volume(tmp_path: Path) -> None:
    series = used(*records(enhanced_parts(tmp_path, 3)[::-1]))
    assert series.grid.shape == (6, 4, 6)
    assert series.frames == ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1))


@pytest.mark.parametrize(("left_out", "total"), [(0, 3), (1, 3), (2, 3)])
def test_missing_parts_of_a_concatenation_are_noticed(left_out: int, total: int, tmp_path: Path) -> None:
    paths = enhanced_parts(tmp_path, total)
    del paths[left_out]
    (record,) = records(paths)
    assert (record.status, record.reason.code) == ("refused", "concatenation")


def test_time_points_in_an_enhanced_object_are_refused(tmp_path: Path) -> None:
    dataset = enhanced_ct(along_z(0, 2, 0, 2), np.zeros((4, 4, 6), np.int16))
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence[0].TemporalPositionIndex = number // 2 + 1
    (record,) = records([save(dataset, tmp_path / "x")])
    assert (record.status, record.reason.code) == ("refused", "mixed-times")


def slide(columns: int, flavour: str) -> Dataset:
    dataset = image(
        "1.2.840.10008.5.1.4.1.1.77.1.6", np.zeros((2, 8, 8, 3), np.uint8), SamplesPerPixel=3, Modality="SM"
    )
    dataset.PhotometricInterpretation, dataset.ImageType = "RGB", ["ORIGINAL", "PRIMARY", flavour, "NONE"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.5", "2.25.6"
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = columns // 2, columns
    measures = item(PixelSpacing=[8 / columns] * 2)
    dataset.SharedFunctionalGroupsSequence = item(PixelMeasuresSequence=measures)
    return dataset


def test_the_levels_of_a_slide_go_to_the_slide_reader_without_its_label(tmp_path: Path) -> None:
    objects = {"coarse": slide(16, "VOLUME"), "fine": slide(64, "VOLUME"), "label": slide(20, "LABEL")}
    found = {r.status: r for r in records([save(dataset, tmp_path / name) for name, dataset in objects.items()])}
    assert found["skipped"].reason.code == "label-image"
    series = used(found["used"])
    assert (series.reader, series.kind, series.grid.shape) == ("slide", "slide", (32, 64))
    assert [Path(file.path).name for file in series.files] == ["fine", "coarse"]
    assert series.grid.mm_known
    np.testing.assert_allclose(series.grid.spacing, 0.125)


def test_series_is_pure_and_the_same_whatever_the_order_of_headers(tmp_path: Path) -> None:
    found = headers(ct_series(tmp_path, along_z(0, 2, 4)) + ct_series(tmp_path / "b", along_z(0, 2, 8)))
    for path in tmp_path.rglob("0*"):
        path.unlink()
    before = copy.deepcopy([header.to_dict() for header in found])
    assert Dicom().series(found) == Dicom().series(found[::-1])
    assert [header.to_dict() for header in found] == before
