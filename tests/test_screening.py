"""The whole flow on small files with known content: what is stored, what is done again, what one bad series costs."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from medcam.errors import ModelError
from medcam.progress import Progress
from medcam.reliability.calibration import Calibration
from medcam.reliability.conformal import Conformal
from medcam.results import Results
from medcam.screening import Options, screen
from tests.small_dicom import scene, write_dx
from tests.stand_ins import save_fussy, save_stand_in
from tests.torture.killing import torment
from tests.world import CT_BLOCK, DX_BLOCK, US_BLOCK, World, by_source, cases, same_answers


@pytest.fixture
def x_rays(world, tmp_path):
    """The X-rays alone, in a folder that a test may change."""
    folder = tmp_path / "x-rays"
    shutil.copytree(world.folder, folder, ignore=shutil.ignore_patterns("ct", "us"))
    name = "chest_xray_opacity"
    return World(folder, {name: world.models[name]}, (name,))


@pytest.fixture
def again(screened, tmp_path):
    """A copy of it that a test may change."""
    shutil.copytree(screened[0], tmp_path / "results")
    return tmp_path / "results"


# what is stored


def test_every_series_gets_a_case_whose_region_is_the_planted_block(screened):
    out, outcome = screened
    assert len(outcome.rows) == 6
    assert outcome.refusals == ()
    assert not outcome.incomplete
    blocks = {"image": DX_BLOCK, "volume": CT_BLOCK, "cine": US_BLOCK}
    for case in cases(out):
        block, region = blocks[case.kind], case.regions[0]
        cell = [size / cells for size, cells in zip(case.grid.shape, case.explanation.grid.shape, strict=True)]
        for axis, (start, stop) in enumerate(zip(region.start, region.stop, strict=True)):
            assert abs(start - block[axis].start) <= max(cell[axis], 1) + 1, (case.kind, axis)
            assert abs(stop - block[axis].stop) <= max(cell[axis], 1) + 1, (case.kind, axis)
            assert block[axis].start - 1 <= region.peak[axis] <= block[axis].stop
        assert len(case.regions) == 1


def test_the_row_of_a_case_says_what_the_case_says(screened):
    out, outcome = screened
    results = Results.open(out)
    for row in outcome.rows:
        case = results.case(row["case"])
        assert row["new"]
        assert (row["pipeline"], row["decision"], row["where"]) == (case.pipeline, case.decision.text, case.where)
        assert row["score"] == case.prediction.score
    for row in results.rows():
        assert row["score"] == results.case(row["key"]).prediction.score
    results.close()


def test_every_file_has_one_fate_and_nothing_is_left_in_staging(world, screened):
    out, outcome = screened
    there = sorted(str(path) for path in world.folder.rglob("*") if path.is_file())
    assert [record.path for record in outcome.intake.files] == there
    assert {record.status for record in outcome.intake.files} == {"used"}
    assert list((out / "staging").iterdir()) == []


def test_what_a_bundle_learned_reaches_the_stored_case_and_a_new_calibration_is_a_new_answer(x_rays, tmp_path):
    name, pipeline = "chest_xray_opacity", tmp_path / "learned"
    scale = Calibration("single-logit", (0.3,), (0.0,), (0.4,), 90, 90)
    sets = Conformal("single-logit", ("opacity",), 0.1, "lac", True, ((0.0, 0.0),), ((50, 40),))

    def screened(**blobs):
        blobs = {f"configs/{kind}.json": blob.to_bytes() for kind, blob in blobs.items()}
        model = save_stand_in(pipeline, name, blobs=blobs, demonstration=False)
        outcome = World(x_rays.folder, {name: model}, (name,)).screen(tmp_path / "results")
        return outcome, by_source(tmp_path / "results")

    outcome, plain = screened()
    assert [(row["new"], row["calibrated"]) for row in outcome.rows] == [(True, False)] * 4
    assert {case.decision.outcome for case in plain.values()} == {"flagged"}
    outcome, learned = screened(calibration=scale, conformal=sets)
    assert [(row["new"], row["calibrated"]) for row in outcome.rows] == [(True, True)] * 4
    for key, case in learned.items():
        assert case.prediction.score == pytest.approx(1 / (1 + np.exp(-0.3 * plain[key].prediction.logit)), abs=1e-6)
        assert case.prediction.score_name == "calibrated probability"
        assert case.prediction.conformal_set.members == ()
        assert case.decision.outcome == "refer"
        assert "the 90 % conformal set is empty" in case.decision.reasons[0]
    outcome, _ = screened(calibration=scale, conformal=sets)
    assert [(row["new"], row["calibrated"]) for row in outcome.rows] == [(False, True)] * 4


# what is done again


def times(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}


def test_a_second_run_does_nothing(world, screened, again):
    before = times(again)
    outcome = world.screen(again)
    assert times(again) == before
    # and says the same
    known = {row["case"]: row for row in outcome.rows}
    assert known == {row["case"]: row | {"new": False} for row in screened[1].rows}


def test_force_does_everything_again_with_the_same_answers(world, screened, again):
    before = times(again)
    outcome = world.screen(again, force=True)
    assert [row["new"] for row in outcome.rows] == [True] * 6
    assert all(time > before[name] for name, time in times(again).items())
    same_answers(by_source(screened[0]), by_source(again))


def test_company_in_a_batch_changes_no_answer(x_rays, tmp_path):
    """Nor how far it moves when disturbed."""
    for size in (1, 3, 8):
        x_rays.screen(tmp_path / str(size), batch_size=size, uncertainty="augmentation")
    one, three, eight = (by_source(tmp_path / size) for size in "138")
    same_answers(one, three)
    same_answers(one, eight)
    for key, case in one.items():
        assert case.uncertainty.score_sd > 0
        assert len(case.uncertainty.scores) == 8
        for other in (three[key], eight[key]):
            assert case.uncertainty.scores == pytest.approx(other.uncertainty.scores, abs=1e-5)
            assert np.allclose(case.explanation.spread, other.explanation.spread, atol=1e-5)


def test_a_changed_file_is_scored_again_and_no_other(x_rays, tmp_path):
    folder, out = x_rays.folder, tmp_path / "results"
    x_rays.screen(out)
    before = by_source(out)
    import pydicom

    changed = pydicom.dcmread(folder / "dx2")
    values = changed.pixel_array.copy()
    values[50:80, 100:140] = 1000
    values[120:150, 20:60] = 3000
    changed.PixelData = values.tobytes()
    changed.save_as(folder / "dx2")
    outcome = x_rays.screen(out)
    assert sum(row["new"] for row in outcome.rows) == 1
    after = by_source(out)
    case = after["chest_xray_opacity", "dx2"]
    assert case.key == before["chest_xray_opacity", "dx2"].key
    assert case.provenance.source_hash != before["chest_xray_opacity", "dx2"].provenance.source_hash
    assert abs(case.regions[0].start[0] - 120) <= 5
    assert abs(case.regions[0].start[1] - 20) <= 5


@pytest.mark.parametrize("change", [{"gain": 20.0}, {"threshold": 0.99}], ids=["weights", "threshold"])
def test_a_changed_model_scores_again_and_leaves_the_other_pipelines_alone(world, again, tmp_path, change):
    other = save_stand_in(tmp_path / "other", "chest_xray_opacity", **change)
    outcome = world.screen(again, models=world.models | {"chest_xray_opacity": other})
    new = {row["pipeline"]: row for row in outcome.rows if row["new"]}
    assert set(new) == {"chest_xray_opacity"}
    assert sum(row["new"] for row in outcome.rows) == 4
    assert new["chest_xray_opacity"]["decision"] == "not flagged"
    assert len(cases(again)) == 6


def test_limit_stops_after_so_many_and_the_next_run_goes_on(x_rays, tmp_path):
    outcome = x_rays.screen(tmp_path / "results", limit=3)
    assert [row["new"] for row in outcome.rows] == [True] * 3
    outcome = x_rays.screen(tmp_path / "results", limit=3)
    assert sorted(row["new"] for row in outcome.rows) == [False] * 3 + [True]
    assert len(cases(tmp_path / "results")) == 4


def test_a_dry_run_names_what_would_be_scored_and_writes_nothing(world, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in world.folder.rglob("*")}
    outcome = world.screen(tmp_path / "results", dry_run=True)
    assert list(outcome.planned) == [
        "would score   chest_ct_nodule: CT volume, 30 slices",
        *["would score   chest_xray_opacity: DX image"] * 4,
        "would score   lung_ultrasound: US cine, 12 frames",
        "would score 6 series and refuse 0",
    ]
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in world.folder.rglob("*")} == before


# what one bad series costs


class WhenIndexed(Progress):
    """Does something between the reading of headers and the decoding of pixels."""

    def __init__(self, what):
        super().__init__(quiet=True)
        self._what = what

    def stage(self, name):
        return lambda done, total: self._what() if name == "headers" and done == total else None


def failures(out):
    results = Results.open(out)
    found = [(row["pipeline"], row["status"], row["code"], row["detail"]) for row in results.refusals()]
    results.close()
    return found


def test_a_file_that_breaks_after_it_was_indexed_stops_no_other(world, screened, tmp_path):
    folder, out = tmp_path / "folder", tmp_path / "results"
    shutil.copytree(world.folder, folder)

    def damage():
        content = (folder / "dx1").read_bytes()
        (folder / "dx1").write_bytes(content[: len(content) // 2])
        (folder / "ct" / "0007").unlink()

    options = Options(models=world.models, workers=1, uncertainty="none")
    outcome = screen(folder, out, options, WhenIndexed(damage))
    assert outcome.incomplete
    assert {(one.pipeline, one.status) for one in outcome.refusals} == {
        ("chest_xray_opacity", "refused"),
        ("chest_ct_nodule", "refused"),
    }
    assert len(failures(out)) == 2
    left = by_source(screened[0])
    left = {key: case for key, case in left.items() if key[0] != "chest_ct_nodule" and key[1] != "dx1"}
    same_answers(left, by_source(out))
    assert list((out / "staging").iterdir()) == []


def test_a_model_of_nan_fails_by_name_and_the_other_pipelines_go_on(world, screened, tmp_path):
    broken = save_stand_in(tmp_path / "nan", "chest_xray_opacity", fill=float("nan"))
    outcome = world.screen(tmp_path / "results", models=world.models | {"chest_xray_opacity": broken})
    assert sorted(row["pipeline"] for row in outcome.rows) == ["chest_ct_nodule", "lung_ultrasound"]
    assert {one[:3] for one in failures(tmp_path / "results")} == {("chest_xray_opacity", "failed", "not-finite")}
    assert len(failures(tmp_path / "results")) == 4
    assert outcome.incomplete
    assert list((tmp_path / "results" / "staging").iterdir()) == []
    # with a sound model they are tried again, and the failures are forgotten
    outcome = world.screen(tmp_path / "results")
    assert len(outcome.rows) == 6
    assert failures(tmp_path / "results") == []
    same_answers(by_source(screened[0]), by_source(tmp_path / "results"))


def test_damaged_weights_end_the_run_before_anything_is_stored(x_rays, tmp_path):
    name = "chest_xray_opacity"
    damaged = shutil.copytree(x_rays.models[name], tmp_path / "damaged")
    weights = bytearray((damaged / "models/model.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "models/model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError) as refusal:
        x_rays.screen(tmp_path / "results", models={name: str(damaged)})
    assert refusal.value.code == "bundle-hash"
    assert cases(tmp_path / "results") == []
    assert len(x_rays.screen(tmp_path / "results").rows) == 4


def test_a_model_that_raises_for_one_image_of_a_batch_loses_that_image_alone(x_rays, screened, tmp_path):
    out = tmp_path / "results"
    # half of it is bright: this one raises
    write_dx(x_rays.folder / "dx0", scene((200, 180), (slice(0, 199), slice(0, 100))))
    fussy = save_fussy(tmp_path / "fussy", "chest_xray_opacity")
    outcome = x_rays.screen(out, models={"chest_xray_opacity": fussy}, trust_code=True)
    # what it said quotes the patient, and is not told
    assert failures(out) == [("chest_xray_opacity", "failed", "model-failed", "ValueError")]
    assert outcome.incomplete
    left = by_source(screened[0])
    expected = {key: case for key, case in left.items() if key[0] == "chest_xray_opacity" and key[1] != "dx0"}
    same_answers(expected, by_source(out))


def test_a_lost_row_is_found_again_from_the_case(world, screened, again):
    """A run that dies between a case's rename and its row, also when the case replaced an older one."""
    import sqlite3

    index = sqlite3.connect(again / "index.sqlite")
    rows = index.execute("SELECT * FROM cases ORDER BY key").fetchall()
    index.execute("DELETE FROM cases WHERE pipeline = 'chest_xray_opacity'")
    index.commit()
    index.close()
    outcome = world.screen(again)
    assert [row["new"] for row in outcome.rows] == [False] * 6
    index = sqlite3.connect(again / "index.sqlite")
    assert index.execute("SELECT * FROM cases ORDER BY key").fetchall() == rows
    index.close()


def test_a_folder_whose_making_was_killed_is_completed(x_rays, tmp_path):
    """All that can lie there before the folder is marked as one of results."""
    out = tmp_path / "results"
    for name in ("cases", "staging"):
        (out / name).mkdir(parents=True)
    for name in ("writer.lock", "identifiers.sqlite"):
        (out / name).touch()
        (out / f"{name}-journal").write_bytes(b"\0" * 512)
    (out / "medcam-results.json.part").write_text("{")
    assert len(x_rays.screen(out).rows) == 4
    assert (out / "medcam-results.json").exists()


def test_copied_pixels_make_the_folder_self_sufficient(world, tmp_path):
    folder, out = tmp_path / "folder", tmp_path / "results"
    shutil.copytree(world.folder, folder)
    World(folder, world.models).screen(out, copy_pixels=True)
    shutil.rmtree(folder)
    results = Results.open(out)
    for key in [row["key"] for row in results.rows()]:
        case, pixels = results.case(key), results.pixels(key)
        assert pixels.array.shape == case.grid.shape
        if case.kind == "volume":
            assert pixels.unit == "HU"
            assert abs(float(pixels.array[CT_BLOCK].mean()) - 600) < 2
    results.close()


def test_names_that_are_no_text_are_screened_like_others(x_rays, tmp_path):
    """Old archives name files and folders in encodings of their own."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller")
    try:
        shutil.copytree(x_rays.folder, folder)
        os.rename(f"{folder}/dx0", os.fsdecode(os.fsencode(folder) + b"/\xff"))  # noqa: PTH104  # no text either
    except OSError:
        pytest.skip("needs a file system that takes any bytes as a name")
    strange = World(Path(folder), x_rays.models, x_rays.pipelines)
    assert [row["new"] for row in strange.screen(tmp_path / "results").rows] == [True] * 4
    assert [row["new"] for row in strange.screen(tmp_path / "results").rows] == [False] * 4


def test_real_files_end_in_one_fate_each_and_the_same_twice(shared_data, stand_ins, tmp_path, capfd):
    options = Options(models=stand_ins, workers=2, uncertainty="none")
    once = screen(shared_data / "dicom", tmp_path / "results", options)
    there = sorted(str(path) for path in (shared_data / "dicom").rglob("*") if path.is_file())
    assert [record.path for record in once.intake.files] == there
    assert all((record.reason is None) == (record.status == "used") for record in once.intake.files)
    in_series = [path for one in once.intake.series for path in one.files]
    assert len(in_series) == len(set(in_series))
    assert {row["pipeline"] for row in once.rows} == {"chest_xray_opacity"}
    assert {row["decision"] for row in once.rows} == {"demonstration only"}
    assert all(one.reason.code for one in once.refusals)
    assert not any(one.status == "failed" for one in once.refusals)
    # the second time from the cached headers, and with everything scored anew
    twice = screen(shared_data / "dicom", tmp_path / "results", Options(**vars(options) | {"force": True}))
    assert twice.intake == once.intake
    assert twice.refusals == once.refusals
    assert [row | {"score": 0} for row in twice.rows] == [row | {"score": 0} for row in once.rows]
    for one, other in zip(once.rows, twice.rows, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    assert "Traceback" not in "".join(capfd.readouterr())
    stored = json.loads(next((tmp_path / "results" / "cases").glob("*/case.json")).read_text())
    assert stored["layout"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_screening_killed_five_times_ends_like_an_unbroken_one(stand_ins, tmp_path):
    done = torment(tmp_path, stand_ins["chest_xray_opacity"], images=12, kills=5)
    assert done.kills == 5
