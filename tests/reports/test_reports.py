"""What write_reports promises whoever calls it."""

import subprocess
import sys

import pytest

from medcam.errors import ResultsError, UsageError
from medcam.reports import SHELF, full_name, ordered, write_reports
from medcam.results import Results


def test_the_shelf():
    assert {"html", "pdf", "json_record", "dicom_sc"} <= set(SHELF.names())
    for name in SHELF.names():
        assert SHELF.load(name).name == name
        assert SHELF.load(name).suffix.startswith(".")


def test_short_names():
    assert full_name("sc") == "dicom_sc"
    assert full_name("json") == "json_record"
    assert ordered(["json", "html", "json_record", "html"]) == ["json_record", "html"]


def test_reports_come_after_what_they_need(monkeypatch):
    monkeypatch.setattr(SHELF.load("html"), "needs", ("pdf",))
    assert ordered(["html", "json"]) == ["pdf", "html", "json_record"]


def test_one_folder_per_case_and_every_path_is_returned(anonymous, results, tmp_path):
    for key in results.keys():  # noqa: SIM118  # a method of Results
        kinds = {path.name.removeprefix(key) for path in (anonymous / key).iterdir()}
        assert {".html", ".pdf", ".json", "_sc1.dcm"} <= kinds
    told = []
    (key, *_) = results.keys()
    paths = write_reports(
        results, ["html", "json"], tmp_path, cases=[key], progress=lambda done, total: told.append((done, total))
    )
    assert set(paths) == {path for path in tmp_path.rglob("*") if path.is_file()}
    assert told == [(1, 1)]


def test_refusals(results, tmp_path):
    with pytest.raises(UsageError, match="unknown-report"):
        write_reports(results, ["htlm"], tmp_path)
    for key in ("nobody", "../../etc"):
        with pytest.raises(UsageError, match="unknown-case"):
            write_reports(results, ["json"], tmp_path / "out", cases=[key])
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="not-writable"):
        write_reports(results, ["json"], tmp_path / "file" / "out")


def test_an_empty_results_folder(tmp_path):
    with Results.writer(tmp_path / "r") as empty, pytest.raises(UsageError, match="no-cases"):
        write_reports(empty, ["json"], tmp_path / "out")


def test_without_identifiers_there_are_reports_but_none_with_names(scratch, tmp_path):
    scratch.close()
    (scratch.folder / "identifiers.sqlite").unlink()
    handed_on = Results.open(scratch.folder)
    assert write_reports(handed_on, ["html", "pdf", "json", "sc"], tmp_path / "out")
    with pytest.raises(ResultsError, match="identifiers-removed"):
        write_reports(handed_on, ["json"], tmp_path / "named", include_identifiers=True)
    assert not list((tmp_path / "named").rglob("*.json"))
    handed_on.close()


@pytest.mark.parametrize("content", [None, b"", b"not a picture"])
def test_a_damaged_picture_is_one_clear_sentence(scratch, cases, tmp_path, content):
    case = cases["image, flagged"]
    path = scratch.path(case.key) / case.key_images[0].file
    path.unlink() if content is None else path.write_bytes(content)
    for report in ("html", "pdf", "sc"):
        with pytest.raises(ResultsError, match="delete its folder and screen again"):
            write_reports(scratch, [report], tmp_path / report, cases=[case.key])


def test_importing_the_shelf_is_light():
    heavy = ["torch", "monai", "pydicom", "reportlab", "jinja2", "matplotlib", "PIL"]
    program = f"import sys, medcam.reports; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
