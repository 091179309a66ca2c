"""Secondary Captures that a PACS takes: valid, in the right study or in nobody's, every pixel and frame in its place."""

import io
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import RLELossless

from medcam.display import to_bytes
from medcam.grid import Grid
from medcam.reports import _dicom, _rle, write_reports
from medcam.reports._bitmap import render
from medcam.reports._drawing import Image
from medcam.reports._pictures import Style, figure, read_plane
from medcam.reports.dicom_sc import _timing
from tests.reports.conftest import CANARIES, SOP_CLASSES, keep, tool

SINGLE, MULTI = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"
ALL = ["image, flagged", "volume, flagged", "cine, demonstration only", "slide, not flagged"]


def objects(folder, case):
    return [pydicom.dcmread(path) for path in sorted((folder / case.key).glob("*.dcm"))]


def validate(path):
    done = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if line.startswith("Error")]


def test_dciodvfy_finds_no_error(anonymous, identified):
    for path in [*anonymous.rglob("*.dcm"), *identified.rglob("*.dcm")]:
        assert validate(path) == [], path


@pytest.mark.parametrize("facts", [{}, {"BodyPartExamined": "LUNG", "Laterality": "L"}, {"BodyPartExamined": "chest"}])
def test_dciodvfy_is_content_whatever_the_source_says_of_the_body(scratch, cases, facts, tmp_path):
    more = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10", "BurnedInAnnotation": "YES"}
    case = keep(scratch, cases["image, flagged"], facts={**facts, **more}, modality=(facts and "DX") or "")
    (path,) = write_reports(scratch, ["sc"], tmp_path, cases=[case.key])
    assert validate(path) == []
    d = pydicom.dcmread(path)
    assert (d.LossyImageCompression, float(d.LossyImageCompressionRatio)) == ("01", 10.0)
    assert d.BurnedInAnnotation == "YES"


@pytest.mark.parametrize("which", ALL)
def test_pixels_are_the_composed_picture(anonymous, results, cases, which):
    """Read back, the left panel is the key image itself, and the rest is the drawing, bit for bit."""
    case = cases[which]
    d = objects(anonymous, case)[0]
    pixels = d.pixel_array
    picture = case.key_images[0]
    plane = read_plane(results.path(case.key) / picture.file)
    factor = -(-300 // plane.shape[1])
    rgb = plane if plane.ndim == 3 else np.repeat(plane[..., None], 3, axis=-1)
    enlarged = rgb.repeat(factor, axis=0).repeat(factor, axis=1)
    style = Style(panel=enlarged.shape[1], text=max(11.0, enlarged.shape[1] / 42), pixels=None)
    panel = next(mark for mark in figure(case, picture, plane, style).marks if isinstance(mark, Image))
    x = round(panel.x)
    columns = pixels[:, x : x + enlarged.shape[1]]
    tops = [top for top in range(pixels.shape[0] - enlarged.shape[0]) if np.array_equal(columns[top], enlarged[0])]
    assert any(np.array_equal(columns[top : top + enlarged.shape[0]], enlarged) for top in tops)


def test_a_cine_has_every_frame_at_its_time(anonymous, results, cases):
    case = cases["cine, demonstration only"]
    single, cine = objects(anonymous, case)
    assert (single.SOPClassUID, cine.SOPClassUID) == (SINGLE, MULTI)
    frames = cine.pixel_array
    assert cine.NumberOfFrames == len(frames) == 10
    assert float(cine.FrameTime) == pytest.approx(50)
    assert cine.FrameIncrementPointer == 0x00181063
    assert cine.RecommendedDisplayFrameRate == 20
    source = results.pixels(case.key)
    factor = -(-300 // 80)
    for index in (0, 5, 6, 9):
        plane = to_bytes(source.plane(index), None).repeat(factor, axis=0).repeat(factor, axis=1)
        rows = [r for r in range(frames.shape[1]) if np.array_equal(frames[index, r, 4 : 4 + 320], plane[0])]
        assert any(np.array_equal(frames[index, r : r + 240, 4 : 4 + 320], plane) for r in rows), index
    style = Style(panel=320, text=11.0, pixels=None)
    plane = read_plane(results.path(case.key) / case.key_images[0].file)
    _, right, _ = (m for m in figure(case, case.key_images[0], plane, style).marks if isinstance(m, Image))
    overlays = frames[:, 80:320, round(right.x) : round(right.x) + 320].astype(int)
    coloured = [int((np.ptp(overlay, axis=-1) > 60).sum()) for overlay in overlays]
    assert coloured[5] > 100, "evidence lies on frames 6 and 7"
    assert coloured[6] > 100
    assert coloured[0] == coloured[1] == coloured[9] == 0


def test_frame_times_that_vary_become_a_vector(cases):
    case = cases["cine, demonstration only"]
    times = (0.0, 0.1, 0.15, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    d = pydicom.Dataset()
    d.NumberOfFrames = 10
    _timing(d, replace(case, grid=replace(case.grid, frame_times_s=times)))
    assert "FrameTime" not in d
    assert d.FrameIncrementPointer == 0x00181065
    assert np.cumsum([float(step) for step in d.FrameTimeVector]) / 1000 == pytest.approx(times)


def test_pseudonymous_objects_lead_back_to_nobody(anonymous, cases):
    for case in cases.values():
        for path in (anonymous / case.key).glob("*.dcm"):
            content = path.read_bytes()
            for canary in CANARIES:
                assert canary.encode() not in content, path
        for d in objects(anonymous, case):
            assert d.PatientID == case.patient_key
            assert str(d.PatientName) == ""
            assert d.PatientIdentityRemoved == "YES"
            assert "SourceImageSequence" not in d
            assert d.StudyInstanceUID == _dicom.derived_uid("study", case.study_key)
            assert "Pseudonymous object: the study UID is derived and is not the source's." in d.ImageComments


def test_with_identifiers_objects_land_in_the_patients_study(identified, results, cases):
    for case in cases.values():
        ids = results.identifiers(case.key)
        for d in objects(identified, case):
            assert (d.PatientID, str(d.PatientName)) == (ids.patient_id, "Canary^Patient")
            assert (d.PatientBirthDate, d.PatientSex) == ("19330303", "F")
            assert (d.StudyInstanceUID, d.AccessionNumber) == (ids.study_uid, ids.accession_number)
            assert (d.StudyDate, d.StudyTime, d.StudyID) == ("20200202", "091500.5", ids.study_id)
            assert d.SeriesInstanceUID != ids.series_uid, "a new series"
            assert "PatientIdentityRemoved" not in d
            (source,) = d.SourceImageSequence
            assert source.ReferencedSOPClassUID == SOP_CLASSES[case.kind]
            assert source.ReferencedSOPInstanceUID == results.series(case.key).files[0].sop_instance_uid
            assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (still,) = objects(identified, cases["volume, flagged"])
    assert still.SourceImageSequence[0].ReferencedFrameNumber == 8, "frames of a source count from 1"
    _, cine = objects(identified, cases["cine, demonstration only"])
    assert list(cine.SourceImageSequence[0].ReferencedFrameNumber) == list(range(1, 11))


def test_what_the_object_says_of_itself(anonymous, cases):
    for case in cases.values():
        series = {d.SeriesInstanceUID for d in objects(anonymous, case)}
        assert len(series) == 1
        for d in objects(anonymous, case):
            assert d.SeriesDescription == "AI heatmap - research use only, unverified"
            assert d.ImageComments.startswith("AI output, unverified. Research use only - not for diagnostic use.")
            assert f"{case.finding}: {case.decision.text}; uncalibrated score" in d.ImageComments
            assert "not the outline of a lesion" in d.DerivationDescription
            assert list(d.ImageType) == ["DERIVED", "SECONDARY"]
            assert (d.Manufacturer, d.ConversionType) == ("medcam-toolkit", "WSD")
            assert d.BurnedInAnnotation == ("YES" if case.kind == "cine" else "NO")
            assert d.BodyPartExamined == "CHEST"
            assert case.provenance.model_hash in d.ContributingEquipmentSequence[0].ContributionDescription
            assert d.preamble == b"\0" * 128


def test_the_same_report_twice_is_the_same_object(results, anonymous, cases, tmp_path):
    for which in ("image, flagged", "cine, demonstration only"):
        key = cases[which].key
        for path in write_reports(results, ["sc"], tmp_path, cases=[key]):
            assert path.read_bytes() == (anonymous / key / path.name).read_bytes()
    uids = [d.SOPInstanceUID for case in cases.values() for d in objects(anonymous, case)]
    assert len(uids) == len(set(uids))


def test_pixels_that_are_not_square_say_so(scratch, cases, tmp_path):
    grid = Grid.plane((120, 100), (3.0, 1.5), space="detector", mm_known=True)
    case = cases["image, flagged"]
    sheared = replace(case.explanation, grid=grid.resized((15, 12)), input_grid=grid)
    keep(scratch, case, grid=grid, explanation=sheared)
    (path,) = write_reports(scratch, ["sc"], tmp_path, cases=[case.key])
    assert [float(v) for v in pydicom.dcmread(path).PixelAspectRatio] == [2000, 1000]
    assert validate(path) == []


def test_a_cine_whose_source_is_gone_keeps_its_key_frames(scratch, cases, tmp_path, caplog):
    case = cases["cine, demonstration only"]
    for name in ("pixels.npy", "pixels.json"):
        (scratch.path(case.key) / name).unlink()
    paths = write_reports(scratch, ["sc"], tmp_path, cases=[case.key])
    assert [path.name for path in paths] == [f"{case.key}_sc1.dcm"]
    assert "the whole cine was not captured" in caplog.text
    assert "/archive/" not in caplog.text


def test_numbers_that_do_not_fit_are_left_out_rather_than_cut(scratch, cases, tmp_path):
    case = cases["image, flagged"]
    series = scratch.series(case.key)
    ids = replace(series.identifiers, accession_number="A" * 56, study_id="S" * 17, birth_date="3.3.1933", sex="?")
    pictures = {picture.file: (scratch.path(case.key) / picture.file).read_bytes() for picture in case.key_images}
    scratch.add(case, replace(series, identifiers=ids), pictures, scratch.pixels(case.key))
    (path,) = write_reports(scratch, ["sc"], tmp_path, cases=[case.key], include_identifiers=True)
    d = pydicom.dcmread(path)
    assert (d.AccessionNumber, d.StudyID, d.PatientBirthDate, d.PatientSex) == ("", "", "", "")
    assert d.PatientID == ids.patient_id
    assert validate(path) == []


@pytest.mark.parametrize("uid", ["../../evil", "1.2.03", "1", "1." + "2" * 70, "1.2.x", ""])
def test_hostile_uids_are_not_written_again(uid):
    assert not _dicom.is_uid(uid)
    assert _dicom.is_uid("1.2.840.10008.1.2")


def test_rle_is_read_by_an_independent_decoder():
    rng = np.random.default_rng(5)
    frame = np.zeros((67, 131, 3), np.uint8)
    frame[10:40, 20:90] = rng.integers(0, 256, (30, 70, 3))
    frame[50:, :, 1] = 200
    decoder = get_decoder(RLELossless)
    decoded, _ = decoder.as_array(
        io.BytesIO(encapsulate([_rle.encode(frame)])).getvalue(),
        rows=67, columns=131, samples_per_pixel=3, bits_allocated=8, bits_stored=8, pixel_representation=0,
        photometric_interpretation="RGB", planar_configuration=0, number_of_frames=1, pixel_keyword="PixelData",
    )  # fmt: skip
    assert np.array_equal(decoded, frame)


def test_words_are_burned_in(results, cases):
    """The banner is drawn: rows above the panels are not empty, and differ between two decisions."""
    case = cases["image, flagged"]
    plane = read_plane(results.path(case.key) / case.key_images[0].file)
    style = Style(panel=400, text=12, paper="#000000", ink="#ffffff", pixels=None)
    banners = [
        render(figure(case, case.key_images[0], plane, style, (words,)))[:18] for words in ("RESEARCH USE ONLY", "x")
    ]
    assert banners[0].any()
    assert banners[0].sum() > banners[1].sum()
