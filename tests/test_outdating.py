"""A source that was screened, changed on the disk and gives no result when it is screened again."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medcam.errors import ResultsError
from medcam.reports import write_reports
from medcam.results import Results
from medcam.review.worklist import worklist
from tests.small_dicom import scene, write_dx
from tests.world import DX_BLOCK, World, by_source, cases

NAME = "chest_xray_opacity"


@pytest.fixture
def x_rays(world, tmp_path) -> tuple[World, Path]:
    """Four X-rays, screened; the results are another folder."""
    folder = tmp_path / "x-rays"
    shutil.copytree(world.folder, folder, ignore=shutil.ignore_patterns("ct", "us"))
    made = World(folder, {NAME: world.models[NAME]}, (NAME,))
    made.screen(tmp_path / "results")
    return made, tmp_path / "results"


def cut_off(path: Path) -> None:
    """Its header can be read, its pixels end too early."""
    path.write_bytes(path.read_bytes()[:-20_000])


def garbage(path: Path) -> None:
    """Nothing about it can be read."""
    path.write_bytes(b"\x00" * 128 + b"DICM" + b"\xff" * 500)


def no_image(path: Path) -> None:
    path.write_text("gone to the archive")


def somebody_else(path: Path) -> None:
    write_dx(path, scene((200, 180), DX_BLOCK, 9), PatientID="CANARY-9")


def of_a_hand(path: Path) -> None:
    """The same series, whose tags now say that it was never a chest."""
    changed = pydicom.dcmread(path)
    changed.BodyPartExamined = "HAND"
    changed.save_as(path)


@pytest.mark.parametrize("damage", [cut_off, garbage, no_image, somebody_else, of_a_hand])
def test_the_older_case_says_that_it_is_outdated_and_no_other_does(x_rays, damage) -> None:
    source, out = x_rays
    before = by_source(out)
    damage(source.folder / "dx1")
    outcome = source.screen(out)
    old = before[NAME, "dx1"].key
    assert outcome.outdated == (old,)
    assert old not in {row["case"] for row in outcome.rows}
    told = {case.key: case for case in cases(out)}
    assert told[old].decision.text == "outdated"
    assert told[old].decision.outcome == before[NAME, "dx1"].decision.outcome  # kept, for who asks what it was
    assert "before" in told[old].decision.outdated
    assert "CANARY" not in told[old].decision.outdated
    others = {case.key for (_, file), case in before.items() if file != "dx1"}
    assert {key for key, case in told.items() if case.decision.outdated == ""} == others | (
        {row["case"] for row in outcome.rows} - others
    )
    assert len(told) == (5 if damage is somebody_else else 4)
    results = Results.open(out)
    rows = worklist(results)
    results.close()
    assert (rows[-1].key, rows[-1].outcome, rows[-1].decision) == (old, "outdated", "outdated")


def test_reports_say_it_first_and_the_pixels_are_refused(x_rays, tmp_path) -> None:
    source, out = x_rays
    old = by_source(out)[NAME, "dx1"].key
    cut_off(source.folder / "dx1")
    source.screen(out)
    results = Results.open(out)
    with pytest.raises(ResultsError, match="changed since the screening"):
        results.pixels(old)
    write_reports(results, ["html"], tmp_path / "reports")
    results.close()
    page = next((tmp_path / "reports" / old).glob("*.html")).read_text()
    assert "Outdated: the source was screened again and gave no result" in page
    assert page.index("Outdated:") < page.index("Threshold")


def test_it_lasts_without_the_index_and_over_runs_until_the_source_can_be_read(x_rays) -> None:
    source, out = x_rays
    whole, old = (source.folder / "dx1").read_bytes(), by_source(out)[NAME, "dx1"].key
    cut_off(source.folder / "dx1")
    source.screen(out)
    (out / "index.sqlite").unlink()  # can be rebuilt from the cases
    again = source.screen(out)
    assert again.outdated == ()  # it was before
    assert by_source(out)[NAME, "dx1"].decision.text == "outdated"
    (source.folder / "dx1").write_bytes(whole)
    mended = source.screen(out)
    assert mended.outdated == ()
    assert [row["case"] for row in mended.rows if row["new"]] == [old]
    assert by_source(out)[NAME, "dx1"].decision.outdated == ""
    assert np.isfinite(by_source(out)[NAME, "dx1"].prediction.score)


def test_what_was_not_looked_at_is_not_called_outdated(x_rays, tmp_path) -> None:
    """A file that is gone, another folder into the same results, and a limit say nothing about a case."""
    source, out = x_rays
    (source.folder / "dx3").unlink()
    other = tmp_path / "elsewhere"
    other.mkdir()
    write_dx(other / "dx1", scene((200, 180), DX_BLOCK, 5))
    assert source.screen(out).outdated == ()
    assert World(other, source.models, source.pipelines).screen(out).outdated == ()
    assert source.screen(out, limit=1).outdated == ()
    assert {case.decision.outdated for case in cases(out)} == {""}


def test_a_slice_that_breaks_outdates_the_case_of_its_volume(world, tmp_path) -> None:
    folder = tmp_path / "scans"
    shutil.copytree(world.folder, folder, ignore=shutil.ignore_patterns("dx*", "us"))
    name = "chest_ct_nodule"
    scans = World(folder, {name: world.models[name]}, (name,))
    (first,) = scans.screen(tmp_path / "results").rows
    garbage(folder / "ct" / "0012")
    outcome = scans.screen(tmp_path / "results")
    assert outcome.rows == ()
    assert outcome.outdated == (first["case"],)
    (case,) = cases(tmp_path / "results")
    assert "Slices are missing" in case.decision.outdated
