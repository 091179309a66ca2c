"""Which series each pipeline scores, on hand-made intakes, on phantoms and on real files."""

from dataclasses import replace

import pytest

from medcam.grid import Grid
from medcam.pipeline import shelf
from medcam.readers import index
from medcam.selection import MOST_LEFT_OUT, select
from medcam.study import Identifiers, Intake, Reason, Series, SeriesRecord, SourceFile

KINDS = {"CT": "volume", "MR": "volume", "DX": "image", "CR": "image", "US": "cine", "SM": "slide"}
SIZE = {"volume": (40, 8, 8), "cine": (16, 8, 8), "image": (8, 8), "slide": (8, 8)}


def used(modality, study="1", uid="1", *, kind=None, count=None, spacing_mm=1.0, **facts):
    """A series that the readers would call used."""
    kind = kind or KINDS[modality]
    shape = SIZE[kind] if count is None else (count, 8, 8)
    grid = Grid.plane(shape)
    if kind == "volume":
        affine = [[0, 0, 1, 0], [0, 1, 0, 0], [spacing_mm, 0, 0, 0], [0, 0, 0, 1]]
        grid = Grid.of(shape, affine, space="patient", mm_known=True)
    frames = tuple((0, i) for i in range(shape[0] if kind in ("volume", "cine") else 1))
    file = SourceFile(f"/archive/{study}/{uid}", 1, 1)
    facts = {keyword: value for keyword, value in facts.items() if value}
    series = Series("dicom", kind, modality, (file,), frames, grid, False, facts, Identifiers("P", "", "", study, uid))
    description = f"{modality or 'no modality'} {kind} of {' x '.join(map(str, shape))}"
    return SeriesRecord("used", description, (file.path,), modality, facts, series.identifiers, series)


def chest(modality, *where, **facts):
    view = {"ViewPosition": "PA"} if modality in ("DX", "CR") else {}
    return used(modality, *where, **{"BodyPartExamined": "CHEST"} | view | facts)


def left(status, code, study="1", description="CT, 3 files"):
    return SeriesRecord(
        status,
        description,
        (f"/archive/{study}/{code}",),
        identifiers=Identifiers(study_uid=study),
        reason=Reason(code),
    )


def pipelines(*names):
    return {name: shelf().load(name) for name in names or shelf().names()}


def selected(*records, names=(), assume=None):
    return select(Intake("/archive", (), records), pipelines(*names), assume)


def codes(declined):
    return [(one.pipeline, one.status, one.reason.code) for one in declined]


def test_each_kind_of_series_goes_to_the_pipeline_that_asks_about_it():
    tasks, declined = selected(
        chest("CT", "1"),
        chest("DX", "2"),
        chest("CR", "3", ViewPosition="AP"),
        used("US", "4", BodyPartExamined="LUNG"),
        used("SM", "5", BodyPartExamined="BREAST"),
        used("SM", "6", kind="image", BodyPartExamined="BREAST"),
    )
    assert {(task.series.identifiers.study_uid, task.pipeline) for task in tasks} == {
        ("1", "chest_ct_nodule"),
        ("2", "chest_xray_opacity"),
        ("3", "chest_xray_opacity"),
        ("4", "lung_ultrasound"),
        ("5", "histology_tumour"),
        ("6", "histology_tumour"),
    }
    assert declined == []
    stated = {task.series.identifiers.study_uid: task.selection for task in tasks}
    assert stated["3"] == "the only series that fits; BodyPartExamined CHEST, ViewPosition AP"
    assert stated["4"] == "the only series that fits; BodyPartExamined LUNG"


@pytest.mark.parametrize(
    ("record", "status", "code"),
    [
        (chest("MR"), "skipped", "other-modality"),
        (used("CT", BodyPartExamined="HEAD"), "skipped", "other-anatomy"),
        (used("CT", BodyPartExamined="ABDOMEN"), "skipped", "other-anatomy"),
        (used("CT"), "refused", "anatomy-not-stated"),
        (chest("CT", count=19), "skipped", "too-few"),
        (chest("DX", ViewPosition="LL"), "refused", "other-view"),
        (chest("DX", ViewPosition=""), "refused", "anatomy-not-stated"),
        (used("DX", ViewPosition="PA"), "refused", "anatomy-not-stated"),
        (used("CR", BodyPartExamined="HAND", ViewPosition="PA"), "skipped", "other-anatomy"),
        (used("US", BodyPartExamined="HEART"), "skipped", "other-anatomy"),
        (used("US", BodyPartExamined="UTERUS"), "skipped", "other-anatomy"),
        (used("US"), "refused", "anatomy-not-stated"),
        (used("US", kind="image", BodyPartExamined="LUNG"), "skipped", "other-kind"),
        (used("US", count=7, BodyPartExamined="LUNG"), "skipped", "too-few"),
        (used("SM", BodyPartExamined="LUNG"), "skipped", "other-anatomy"),
        (used("", kind="volume"), "refused", "modality-not-stated"),
    ],
)
def test_what_is_not_scored_has_one_reason_and_it_is_the_telling_one(record, status, code):
    tasks, declined = selected(record)
    assert tasks == []
    assert codes(declined) == [("", status, code)]


def test_tags_are_read_whatever_their_case_and_padding():
    assert len(selected(chest("DX", BodyPartExamined="chest ", ViewPosition="pa"))[0]) == 1


def test_what_the_operator_vouches_for_fills_silence_and_never_overrules_a_tag():
    silent, head, lateral = (
        used("CT", "1"),
        used("CT", "2", BodyPartExamined="HEAD"),
        chest("DX", "3", ViewPosition="LL"),
    )
    half = chest("DX", "4", ViewPosition="")
    tasks, declined = selected(silent, head, lateral, half, assume="Chest")
    assert {task.series.identifiers.study_uid for task in tasks} == {"1", "4"}
    assert sorted(codes(declined)) == [("", "refused", "other-view"), ("", "skipped", "other-anatomy")]
    said = {task.series.identifiers.study_uid: task.selection for task in tasks}
    assert said["1"].endswith("; anatomy assumed by the operator: Chest")
    assert said["4"].endswith("; BodyPartExamined CHEST, view assumed by the operator: Chest")


def test_the_word_for_one_pipeline_vouches_for_no_other():
    tasks, declined = selected(used("CT", "1"), used("US", "2"), assume="lung")
    assert [task.pipeline for task in tasks] == ["lung_ultrasound"]
    assert codes(declined) == [("", "refused", "anatomy-not-stated")]


def test_a_file_without_modality_needs_the_only_pipeline_and_the_operators_word():
    volume = used("", kind="volume")
    assert selected(volume, assume="chest")[0] == []
    (task,) = selected(volume, names=["chest_ct_nodule"], assume="chest")[0]
    assert task.selection.endswith("; modality and anatomy assumed by the operator: chest")


def test_of_several_ct_series_the_one_with_most_slices_is_scored_and_the_others_say_which():
    thick, thin, other = (chest("CT", "1", uid, count=n) for uid, n in (("a", 30), ("b", 300), ("c", 60)))
    elsewhere = chest("CT", "2", "d", count=25)
    tasks, declined = selected(thick, thin, other, elsewhere)
    assert {task.series.identifiers.series_uid for task in tasks} == {"b", "d"}
    assert codes(declined) == [("chest_ct_nodule", "skipped", "not-preferred")] * 2
    assert all(one.reason.detail == "300 slices, the most of 3 series that fit" for one in declined)
    assert {one.record.identifiers.series_uid for one in declined} == {"a", "c"}


def test_of_equally_many_slices_the_thinner_series_is_taken_then_the_first_uid_whatever_the_order():
    coarse, fine = chest("CT", "1", "a", spacing_mm=5.0), chest("CT", "1", "b", spacing_mm=1.25)
    for records in ((coarse, fine), (fine, coarse)):
        ((task,), _) = selected(*records)
        assert task.series.identifiers.series_uid == "b"
        assert "1.25 mm apart, the thinnest of 2" in task.selection
    same = chest("CT", "1", "c", spacing_mm=1.25)
    for records in ((same, fine, coarse), (coarse, fine, same)):
        ((task,), _) = selected(*records)
        assert task.series.identifiers.series_uid == "b"


def test_every_fitting_x_ray_of_a_study_is_scored():
    tasks, declined = selected(chest("DX", "1", "a"), chest("DX", "1", "b", ViewPosition="AP"))
    assert len(tasks) == 2
    assert declined == []
    assert all(task.left_out == () for task in tasks)


def test_a_case_names_every_other_series_of_its_study_with_its_own_pipelines_reason():
    tasks, _ = selected(
        chest("CT", "1", "a", count=100),
        chest("CT", "1", "b", count=50),
        chest("DX", "1", "c"),
        used("CT", "1", "d", BodyPartExamined="HEAD"),
        left("refused", "gantry-tilt"),
        left("skipped", "localiser", description="CT, 1 file"),
        left("refused", "truncated", study="2"),
    )
    ct, dx = sorted(tasks, key=lambda task: task.pipeline)
    assert [(one.description, one.reason.code) for one in ct.left_out] == [
        ("CT volume of 50 x 8 x 8", "not-preferred"),
        ("DX image of 8 x 8", "other-modality"),
        ("CT volume of 40 x 8 x 8", "other-anatomy"),
        ("CT, 3 files", "gantry-tilt"),
        ("CT, 1 file", "localiser"),
    ]
    assert [(one.description, one.reason.code) for one in dx.left_out] == [
        ("CT volume of 100 x 8 x 8", "other-modality"),
        ("CT volume of 50 x 8 x 8", "other-modality"),
        ("CT volume of 40 x 8 x 8", "other-modality"),
        ("CT, 3 files", "gantry-tilt"),
        ("CT, 1 file", "localiser"),
    ]


def test_a_study_of_thousands_of_series_is_named_in_short_and_counted_in_full():
    alike = [left("skipped", "derived")] * 3000
    different = [left("refused", "truncated", description=f"CT, {n} files") for n in range(2 * MOST_LEFT_OUT)]
    ((task,), _) = selected(chest("CT"), *alike, *different)
    assert task.left_out[0].description == "3000 x CT, 3 files"
    assert len(task.left_out) == MOST_LEFT_OUT + 1
    assert task.left_out[-1].description == f"{MOST_LEFT_OUT + 1} more series"
    assert task.left_out[-1].reason.code == "truncated"


def test_series_without_a_study_uid_are_each_a_study_of_their_own():
    first, second = (replace(chest("CT", "", uid), files=(f"/archive/{uid}",)) for uid in "ab")
    tasks, declined = selected(first, second)
    assert len(tasks) == 2
    assert declined == []


def test_of_real_files_only_chest_x_rays_that_say_so_are_scored(shared_data):
    """No echo, no obstetric or pelvic ultrasound, no head, no image whose tags are silent."""
    root = shared_data / "dicom"
    intake = index(root)
    tasks, declined = select(intake, pipelines())
    taken = {(task.pipeline, task.series.files[0].path.removeprefix(f"{root}/")) for task in tasks}
    assert taken == {
        ("chest_xray_opacity", "cxr/966_fixed.dcm"),
        ("chest_xray_opacity", "cxr/RG1_J2KI.dcm"),
    }
    of_all = {id(one.record) for one in declined if one.pipeline == ""} | {id(task.series) for task in tasks}
    assert all(id(record) in of_all or id(record.series) in of_all for record in intake.series)
    why = {path.removeprefix(f"{root}/"): one.reason.code for one in declined for path in one.record.files}
    for cine in ("us/examples_ybr_color.dcm", "us/color-pl.dcm"):
        assert why[cine] in ("anatomy-not-stated", "other-kind"), cine
    assert not any(task.series.modality in ("US", "SM", "CT") for task in tasks)
    # vouching for the lungs does not make lungs of an ultrasound that says what else it shows
    vouched, _ = select(intake, pipelines("lung_ultrasound"), "lung")
    assert all(not task.series.facts.get("BodyPartExamined") for task in vouched)


REFUSED = {
    "missing slices": "missing-slices",
    "lateral view": "other-view",
    "anatomy and view not stated": "anatomy-not-stated",
}
"""The code for each reason of an archive's truth."""

PIPELINE_OF = {
    "CT": "chest_ct_nodule",
    "DX": "chest_xray_opacity",
    "US": "lung_ultrasound",
    "SM": "histology_tumour",
    "GM": "histology_tumour",
}


def test_of_an_archive_of_phantoms_every_study_ends_as_its_truth_says(archive):
    out, truth = archive
    root = out / truth["root"]
    intake = index(root)
    tasks, declined = select(intake, pipelines())
    scored = {task.series.identifiers.series_uid: task for task in tasks}
    reasons = {one.record.identifiers.series_uid: one for one in declined if one.status == "refused"}
    fates = {record.path.removeprefix(f"{root}/"): record for record in intake.files}
    for study in truth["studies"]:
        uid, expected = study["series_uid"], study["expected"]
        if expected["status"] == "used":
            task = scored.pop(uid)
            assert task.pipeline == PIPELINE_OF[study["dicom_modality"]], study["folder"]
            assert {file.path.removeprefix(f"{root}/") for file in task.series.files} == set(study["files"])
            if study["modality"] != "WSI":
                assert list(task.series.grid.shape) == study["shape"]
        else:
            assert reasons.pop(uid).reason.code == REFUSED[expected["reason"]], study["folder"]
        for skipped in study["skipped"]:
            assert fates.pop(skipped["file"]).reason.code == "localiser"
        for file in study["files"]:
            fates.pop(file)
    assert scored == {}
    assert reasons == {}
    assert sorted(fates) == sorted(odd["file"] for odd in truth["skipped"])
    assert {record.status for record in fates.values()} == {"skipped"}
    # a localiser of the same study is named in the case, with its reason
    named = [one for task in tasks for one in task.left_out if one.reason.code == "localiser"]
    assert len(named) == sum(len(study["skipped"]) for study in truth["studies"])
