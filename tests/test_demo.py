"""The demonstration: everything from phantoms to reports by one command, and nothing twice."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from medcam import demo
from medcam.errors import UsageError
from medcam.progress import Progress
from medcam.results import Results


def test_it_screens_every_phantom_and_tells_the_way_on(demonstration):
    folder, said, seconds = demonstration
    results = Results.open(folder / "results")
    assert len(results.keys()) == 21
    assert {row["pipeline"] for row in results.rows()} == {
        "chest_ct_nodule",
        "chest_xray_opacity",
        "histology_tumour",
        "lung_ultrasound",
    }
    assert all(row["score_sd"] is not None for row in results.rows())  # disturbed too
    results.close()
    *_, last = said
    assert last.startswith("Open the reviewer:  ")
    assert last.endswith(f"review {folder / 'results'}")
    assert f"begin with {folder / 'reports' / 'index.html'}" in said[-2]
    assert seconds < 300


def test_each_case_has_a_report_in_each_format(demonstration):
    folder = demonstration[0]
    assert (folder / "reports" / "index.html").is_file()
    for case in (folder / "results" / "cases").iterdir():
        suffixes = {path.suffix for path in (folder / "reports" / case.name).iterdir()}
        assert {".html", ".pdf", ".json", ".dcm"} <= suffixes, case.name


def test_run_again_it_takes_seconds_and_does_nothing_twice(demonstration, capsys):
    folder = demonstration[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".json", ".html", ".dcm")}
    said = []
    begun = time.process_time()
    demo.run_demo(folder, Progress(quiet=True), said.append)
    assert time.process_time() - begun < 5
    assert len(said) == 1
    assert "0 scored now, 21 known from before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_reports_that_were_interrupted_are_written_again(tmp_path):
    cases, overview = tmp_path / "cases", tmp_path / "index.html"
    (cases / "a").mkdir(parents=True)
    assert demo._older(overview, cases)  # the overview is written last
    overview.write_text("x")
    assert not demo._older(overview, cases)
    os.utime(cases / "a", (time.time() + 10, time.time() + 10))
    assert demo._older(overview, cases)


@pytest.fixture
def tiny(monkeypatch):
    """An archive that is written at once."""

    class Archive:
        @staticmethod
        def write_archive(out, seed):
            (out / "dicom").mkdir(parents=True)
            if seed == 13:
                raise KeyboardInterrupt
            (out / "truth.json").write_text(json.dumps({"seed": seed, "studies": []}))

    monkeypatch.setattr(demo, "phantoms", lambda module: Archive)


def test_phantoms_are_written_whole_or_not_at_all(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        demo.write_phantoms(tmp_path / "archive", seed=13)
    assert not (tmp_path / "archive").exists()
    assert demo.write_phantoms(tmp_path / "archive", seed=2)["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_nobodys_files_are_written_over(tiny, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        demo.write_phantoms(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis").read_text() == "x"
    (tmp_path / "empty").mkdir()
    demo.write_phantoms(tmp_path / "empty")
    assert (tmp_path / "empty" / "truth.json").is_file()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        demo.write_phantoms(tmp_path / "file")


def test_the_printed_command_works_as_it_is(monkeypatch, tmp_path):
    here = tmp_path / ".venv" / "bin"
    here.mkdir(parents=True)
    (here / "medcam").write_text("#!/bin/sh\n")
    (here / "medcam").chmod(0o755)
    monkeypatch.setattr(demo.sys, "executable", str(here / "python"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert Path(demo._command()).resolve() == (here / "medcam").resolve()
    monkeypatch.setenv("PATH", str(here))
    assert demo._command() == "medcam"
    shutil.rmtree(here)
    assert demo._command() == "medcam"
