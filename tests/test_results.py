"""The results folder keeps what it was given, refuses what it does not understand, and leaks no identifier."""

import json
import sqlite3

import numpy as np
import pytest

from medcam.errors import ResultsError
from medcam.results import MARK, Results
from tests.results_maker import PATIENT, PATIENT_ID, make_results


def test_a_case_comes_back_as_it_went_in(tmp_path):
    for case in make_results(tmp_path / "r"):
        results = Results.open(tmp_path / "r")
        back = results.case(case.key)
        assert np.array_equal(back.explanation.evidence, case.explanation.evidence)
        assert back.explanation.grid == case.explanation.grid
        assert back.grid == case.grid
        assert back.regions == case.regions
        assert back.prediction == case.prediction
        assert back.decision == case.decision
        assert back.provenance == case.provenance
        results.close()


def test_no_identifier_outside_identifiers_sqlite(tmp_path):
    make_results(tmp_path / "r")
    for path in (tmp_path / "r").rglob("*"):
        assert PATIENT_ID not in path.name
        if path.is_file() and path.name != "identifiers.sqlite":
            content = path.read_bytes()
            for canary in (PATIENT, PATIENT_ID, "1.2.3.4", "/archive/"):
                assert canary.encode() not in content, path


def test_without_identifiers_cases_are_readable_but_nothing_can_be_added(tmp_path):
    make_results(tmp_path / "r")
    (tmp_path / "r" / "identifiers.sqlite").unlink()
    results = Results.open(tmp_path / "r")
    assert len(results.keys()) == 6
    assert results.identifiers(results.keys()[0]) is None
    results.close()
    with pytest.raises(ResultsError, match="identifiers-removed"), Results.writer(tmp_path / "r"):
        pass


def test_a_lost_index_is_rebuilt_from_the_cases(tmp_path):
    make_results(tmp_path / "r")
    results = Results.open(tmp_path / "r")
    before = results.rows()
    results.close()
    (tmp_path / "r" / "index.sqlite").unlink()
    with Results.writer(tmp_path / "r") as rebuilt:
        assert rebuilt.rows() == before


def test_half_written_cases_are_swept_and_replaced_ones_restored(tmp_path):
    case = make_results(tmp_path / "r")[0]
    staging, cases = tmp_path / "r" / "staging", tmp_path / "r" / "cases"
    (staging / "half.1234").mkdir()
    (staging / "half.1234" / "case.json").write_text("{")
    (cases / case.key).rename(staging / f"{case.key}.99.old")  # killed between the two renames
    with Results.writer(tmp_path / "r") as results:
        assert case.key in results.keys()  # noqa: SIM118  # keys() is a method of Results, not of a dict
        assert results.case(case.key).prediction == case.prediction
        assert list(staging.iterdir()) == []


def test_foreign_folders_and_other_layouts_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ResultsError, match="not-results"), Results.writer(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"
    make_results(tmp_path / "r")
    (tmp_path / "r" / MARK).write_text(json.dumps({"layout": 99}))
    with pytest.raises(ResultsError, match="layout 99"):
        Results.open(tmp_path / "r")


def test_only_one_writer(tmp_path):
    with Results.writer(tmp_path / "r"), pytest.raises(ResultsError, match="results-locked"):
        with Results.writer(tmp_path / "r"):
            pass


def test_identifiers_file_is_for_the_owner_alone(tmp_path):
    make_results(tmp_path / "r")
    assert (tmp_path / "r" / "identifiers.sqlite").stat().st_mode & 0o077 == 0


def test_a_full_database_is_a_clear_sentence(tmp_path):
    from medcam.storage import storage_errors

    with pytest.raises(ResultsError, match="disk-full"), storage_errors(tmp_path):
        connection = sqlite3.connect(tmp_path / "small.sqlite")
        connection.execute("PRAGMA max_page_count=2")
        try:
            connection.execute("CREATE TABLE t (x TEXT)")
            for _ in range(100):
                connection.execute("INSERT INTO t VALUES (?)", ("x" * 4000,))
        finally:
            connection.close()
