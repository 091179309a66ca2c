"""The reviewer's pages, walked without a browser: what they show, store and keep back."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from medcam.findings import ConformalSet, Judged, Neighbour, Uncertainty, decide
from medcam.results import Results
from medcam.review.pictures import Pictures
from medcam.review.verdicts import all_verdicts, check_chain, first_read, lock_first_read, verdicts_of
from tests.results_maker import PATIENT_ID, make_results

APP = Path(__file__).resolve().parents[2] / "apps" / "reviewer"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app") / "r"
    return folder, make_results(folder)


@pytest.fixture
def cases(made):
    return made[1]


@pytest.fixture
def folder(made):
    (made[0] / "verdicts.sqlite").unlink(missing_ok=True)
    return made[0]


@pytest.fixture
def app(folder, monkeypatch):
    """Open the app: at the worklist, or at a case."""

    def opened(case=None, *flags, results=folder):
        monkeypatch.syspath_prepend(APP)
        monkeypatch.setattr(sys, "argv", ["app.py", str(results), *flags])
        test = AppTest.from_file(APP / "app.py", default_timeout=30)
        if case is not None:
            test.query_params["case"] = case.key
        return calm(test.run())

    return opened


def calm(test):
    assert not test.exception
    return test


def press(test, key):
    return calm(test.button(key=key).click().run())


def elements(block):
    for child in block.children.values():
        yield child
        if hasattr(child, "children"):
            yield from elements(child)


def everything(test):
    """All that has gone to the browser, as text: each element's message, tables as text."""
    parts = []
    for element in elements(test._tree):
        parts.append(str(getattr(element, "proto", "")))
        if element.type == "dataframe":
            parts.append(element.value.to_string())
    return "\n".join(parts)


def pictures_of(test):
    return [element.proto.imgs[0].url for element in elements(test._tree) if element.type == "image"]


def worklist_table(test):
    return test.dataframe[0].value


def test_worklist_is_sorted_and_names_no_patient(app):
    test = app()
    table = worklist_table(test)
    assert list(table["Decision"]) == [
        "refer", "flagged", "flagged", "demonstration only", "not flagged", "not flagged",
    ]  # fmt: skip
    assert [round(score, 2) for score in table["Score"]] == [0.50, 0.88, 0.82, 0.73, 0.27, 0.05]
    assert set(table["Status"]) == {"unreviewed"}
    assert "Not scored: 1 series" in everything(test)
    assert "gap of 10 mm" in everything(test)
    assert PATIENT_ID not in everything(test)
    calm(test.toggle(key="identifiers").set_value(True).run())
    assert f"{PATIENT_ID}3" in worklist_table(test)["Patient"].iloc[0]


def test_filters_narrow_the_worklist(app):
    test = app()
    calm(test.multiselect(key="decisions").select("not flagged").run())
    assert set(worklist_table(test)["Decision"]) == {"not flagged"}
    assert len(worklist_table(test)) == 2
    calm(test.multiselect(key="pipelines").select("lung_ultrasound").run())
    assert "No case passes the filters." in test.info[0].value


def test_open_step_window_judge(app, folder, cases):
    case = cases[3]
    test = app()
    press(test, "open-next")
    assert cases[2].key in test.query_params["case"], "the case to refer comes first"
    test = app(case)
    slider = test.slider(key=f"position-{case.key}-slider")
    assert slider.value == 8, "opens on the peak slice, counted from 1"
    before = pictures_of(test)
    assert len(before) == 2
    press(test, f"position-{case.key}-next")
    after = pictures_of(test)
    assert test.slider(key=f"position-{case.key}-slider").value == 9
    assert before[0] != after[0]
    assert before[1] != after[1]
    press(test, f"position-{case.key}-peak")
    assert pictures_of(test) == before
    for _ in range(9):
        press(test, f"position-{case.key}-previous")
    assert test.slider(key=f"position-{case.key}-slider").value == 1, "it stops at the first slice"
    calm(test.slider(key=f"position-{case.key}-slider").set_value(9).run())
    assert pictures_of(test) == after
    press(test, f"position-{case.key}-peak")
    assert pictures_of(test) == before

    calm(test.button_group(key=f"window-{case.key}").set_value("bone").run())
    bone = pictures_of(test)
    assert bone[0] != before[0]
    assert bone[1] != before[1]
    calm(test.slider(key=f"opacity-{case.key}").set_value(0.9).run())
    assert pictures_of(test)[0] == bone[0], "the original knows no opacity"
    assert pictures_of(test)[1] != bone[1]
    painted = pictures_of(test)[1]
    assert test.slider(key=f"least-{case.key}").value == 1.0, "a quarter of 0 to 4 logit"
    calm(test.slider(key=f"least-{case.key}").set_value(3.0).run())
    assert pictures_of(test)[1] != painted
    high = pictures_of(test)[1]
    press(test, f"overlay-{case.key}-button")
    assert pictures_of(test)[1] != high

    press(test, f"agreement-{case.key}-reject")
    press(test, "save")
    assert "rejection needs a reason" in test.error[0].value
    calm(test.selectbox(key=f"reason-{case.key}-0").select("wrong place").run())
    calm(test.text_area(key=f"comment-{case.key}-0").set_value("beside it").run())
    press(test, "save")
    assert "Enter your name" in test.error[0].value
    assert check_chain(folder).entries == 0, "nothing is stored without a reader"
    calm(test.text_input(key="reader").set_value("R. Tester").run())
    press(test, "save")
    (stored,) = verdicts_of(folder, case.key)
    assert (stored.reader, stored.agreement, stored.reason, stored.comment, stored.first_read, stored.model_hash) == (
        "R. Tester", "reject", "wrong place", "beside it", "", "m" * 64,
    )  # fmt: skip
    assert "Saved: reject" in test.success[0].value.replace("\\", "")
    history = next(table.value for table in test.dataframe if "agreement" in table.value)
    assert history["comment"].iloc[0] == "beside it"
    assert test.text_area(key=f"comment-{case.key}-1").value == "", "the form is empty again"
    assert test.button(key="save").disabled
    press(test, "back")
    table = worklist_table(test)
    assert list(table["Verdicts"]).count("R. Tester: reject") == 1


def test_what_the_page_says_about_a_case(app, cases):
    said = everything(app(cases[3]))
    for words in (
        "flagged", "uncalibrated score 0.818", "threshold 0.50 (Youden on 60 validation phantoms)", "at or above",
        "7 to 8", "10 x 16 x 20", "the only series of the study", "CT localiser", "ImageType LOCALIZER", "shift 3",
        "Made for tests.", "m" * 64, "rescale", "gradcam", "Research use only",
    ):  # fmt: skip
        assert words in said, words
    assert "demonstration only" in everything(app(cases[4]))


def test_what_calibration_patients_and_training_cases_say_is_shown_and_hidden_with_the_ai(app, cases, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "learned")
    case = cases[3]
    near = (
        Neighbour("0123456789abcdef", "f" * 16, True, True, 1.0),
        Neighbour("fedcba9876543210", "e" * 16, False, False, 2.0),
    )
    prediction = replace(
        case.prediction, score=0.83, score_name="calibrated probability", threshold=0.41,
        threshold_origin="Youden on 120 calibration patients",
        conformal_set=ConformalSet(("no nodule", "nodule"), "nodule", 0.1, 40),
        support=Judged(1, 0.4, 9.1, 7.0, 0.2, None, True, False, near),
    )  # fmt: skip
    votes = Uncertainty("ensemble", {"a": 0.83, "b": 0.2}, 0.31, 0.6, 0.5, 0.1, 0.44)
    with Results.writer(tmp_path / "learned") as results:
        learned = replace(case, prediction=prediction, uncertainty=votes, decision=decide(prediction, votes, False))
        pictures = {one.file: (results.path(case.key) / one.file).read_bytes() for one in case.key_images}
        results.add(learned, results.series(case.key), pictures, results.pixels(case.key))
    lines = (
        "calibrated probability 0.830 ± 0.310 (ensemble)", "threshold 0.41 (Youden on 120 calibration patients)",
        "90 % conformal set: no nodule or nodule", "support: 1 of the 2 nearest training cases agree, outside the training",
        "the 90 % conformal set holds no nodule and nodule", "unlike anything trained on", "1 of 2 networks (ensemble)",
        "deep ensemble: standard deviation of the score 0.310", "0.100 epistemic", "0123456789abcdef", "does not agree",
    )  # fmt: skip
    said = everything(app(case, results=tmp_path / "learned"))
    for words in lines:
        assert words in said, words
    hidden = everything(app(case, "--hidden-first-read", results=tmp_path / "learned"))
    for words in ("calibrated", "conformal", "support", "epistemic", "0123456789abcdef"):
        assert words not in hidden, words


@pytest.mark.parametrize("number", range(6))
def test_every_kind_of_case_opens(app, cases, number):
    test = app(cases[number])
    assert len(pictures_of(test)) == 2
    assert not test.error
    assert not test.warning


ANSWERS = ("flagged", "refer", "demonstration only", "score", "threshold", "gradcam", "logit", "evidence", "region")
"""Words that the AI's results cannot be told without."""


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_hidden_read_shows_nothing_of_the_ai_before_the_lock(app, folder, cases, number):
    case = cases[number]
    aided = everything(app(case)).lower()
    assert sum(word in aided for word in ANSWERS) >= 6, "the words are there when the AI is shown"

    test = app(case, "--hidden-first-read")
    results = Results.open(folder)
    pictures = Pictures(results, case)
    results.close()
    said = everything(test).lower()
    for word in (*ANSWERS, f"{case.prediction.score:.2f}", case.prediction.threshold_origin.lower(), "m" * 64):
        assert word not in said, word
    assert len(pictures_of(test)) == 1, "the original alone"
    if len(pictures.planes) > 1:
        assert test.slider(key=f"unaided-{case.key}-slider").value == pictures.middle + 1 != pictures.peak + 1
    assert test.button(key="lock").disabled
    press(test, f"first-{case.key}-present")
    press(test, "lock")
    assert "Enter your name" in test.error[0].value
    assert len(pictures_of(test)) == 1
    calm(test.text_input(key="reader").set_value("Reader B").run())
    assert len(pictures_of(test)) == 1
    press(test, "lock")
    assert first_read(folder, case.key, "Reader B").answer == "present"
    assert len(pictures_of(test)) == 2
    assert f"{case.prediction.score:.2f}" in everything(test)
    if case.kind == "volume":
        assert test.slider(key=f"position-{case.key}-slider").value == 8, "the reveal goes to the peak"
    press(test, f"agreement-{case.key}-accept")
    press(test, "save")
    assert all_verdicts(folder)[0].first_read == "present"


def test_the_worklist_is_hidden_too(app):
    test = app(None, "--hidden-first-read")
    assert sorted(worklist_table(test).columns) == ["Modality", "Question", "Read by you", "Study"]
    studies = list(worklist_table(test)["Study"])
    assert studies == sorted(studies), "in the order of the keys, not of the results"
    assert not any(word in everything(test).lower() for word in ("flagged", "0.88", "demonstration"))


def test_who_has_seen_the_ai_cannot_go_back_to_a_first_read(app, cases):
    test = app(cases[0])
    calm(test.text_input(key="reader").set_value("A").run())
    calm(test.toggle(key="hidden").set_value(True).run())
    assert len(pictures_of(test)) == 2


def test_without_the_source_the_page_says_so(app, folder, cases, tmp_path):
    shutil.copytree(folder, tmp_path / "r")
    for name in ("pixels.npy", "pixels.json"):
        for copy in (tmp_path / "r").rglob(name):
            copy.unlink()
    test = app(cases[3], results=tmp_path / "r")
    assert "Only key images" in test.warning[0].value
    assert len(pictures_of(test)) == 2
    hidden = app(cases[3], "--hidden-first-read", results=tmp_path / "r")
    assert pictures_of(hidden) == [], "the evidence chose the key slice: it would betray the place"
    assert "needs the original images" in hidden.error[0].value


def test_tampering_and_foreign_folders_are_said_on_the_page(app, folder, cases, tmp_path):
    import sqlite3
    from contextlib import closing

    from medcam.findings import Verdict
    from medcam.review.verdicts import add_verdict

    add_verdict(folder, Verdict(cases[0].key, "A", "accept"))
    with closing(sqlite3.connect(folder / "verdicts.sqlite")) as connection, connection:
        connection.execute("DROP TRIGGER never_changed")
        connection.execute("UPDATE entries SET content=replace(content, 'accept', 'reject')")
    assert "not as it was written" in app().error[0].value.replace("\\", "")
    assert "not a results folder" in app(results=tmp_path).error[0].value.replace("\\", "")
    test = app(results=folder)
    test.query_params["case"] = "nobody"
    assert "no such case" in calm(test.run()).error[0].value


def test_a_locked_read_goes_on_where_it_stopped(app, folder, cases):
    lock_first_read(folder, cases[0].key, "A", "uncertain")
    test = app(cases[0], "--hidden-first-read")
    calm(test.text_input(key="reader").set_value("A").run())
    assert len(pictures_of(test)) == 1
    press(test, "reveal")
    assert len(pictures_of(test)) == 2
    assert "locked first read: uncertain" in everything(test)
