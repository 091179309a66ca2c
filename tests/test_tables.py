"""What a screening says on the terminal."""

from rich.console import Console

from medcam.findings import Refusal
from medcam.screening import Outcome
from medcam.study import Intake, Reason
from medcam.tables import MOST_REFUSALS, outcome_table


def said(outcome):
    console = Console(width=200)
    with console.capture() as captured:
        console.print(outcome_table(outcome))
    return captured.get()


def row(pipeline, decision, score, sd=None):
    return {"case": f"0123456789ab-{score}", "pipeline": pipeline, "decision": decision, "score": score, "score_sd": sd,
            "where": "row 1, column 2", "new": True, "calibrated": pipeline == "calibrated"}  # fmt: skip


def test_cases_are_listed_by_pipeline_with_the_highest_score_first():
    rows = (
        row("b", "not flagged", 0.1),
        row("a", "refer", 0.5, 0.02),
        row("b", "flagged", 0.9),
        row("a", "flagged", 0.7),
    )
    lines = [
        line.split("│")[1:-1] for line in said(Outcome(rows, (), Intake("/x", (), ()))).splitlines() if "│" in line
    ]
    table = [[cell.strip() for cell in line] for line in lines]
    assert [(one[1], one[2], one[3], one[4]) for one in table] == [
        ("a", "flagged", "0.700", ""),
        ("a", "refer", "0.500", "0.020"),
        ("b", "flagged", "0.900", ""),
        ("b", "not flagged", "0.100", ""),
    ]
    assert {one[0] for one in table} == {"0123456789ab"}


def test_scores_are_called_uncalibrated_only_where_they_are():
    def last(*names):
        return said(Outcome(tuple(row(name, "flagged", 0.9) for name in names), (), Intake("/x", (), ()))).splitlines()[
            -1
        ]

    assert last("a", "b").startswith("Scores are uncalibrated; a case that is not flagged is not thereby normal.")
    assert last("b", "calibrated", "a").startswith("Scores of a, b are uncalibrated; a case")
    assert last("calibrated").startswith("A case that is not flagged is not thereby normal.")


def test_what_was_refused_or_failed_is_listed_and_what_was_skipped_is_not():
    refusals = [
        Refusal("s", "k", "", "CT, 3 files", "refused", Reason("gantry-tilt")),
        Refusal("s", "k", "p", "DX image", "failed", Reason("model-failed", "ValueError")),
        Refusal("s", "k", "", "SR, 1 file", "skipped", Reason("no-pixels")),
    ]
    text = said(Outcome((), tuple(refusals), Intake("/x", (), ())))
    assert "resample the series upright first" in text  # a reason without detail says what the code means
    assert "ValueError" in text
    assert "SR, 1 file" not in text
    many = said(Outcome((), tuple(refusals[:1] * (MOST_REFUSALS + 7)), Intake("/x", (), ())))
    assert "and 7 more; all of them are in the results folder's index" in many


def test_brackets_in_a_description_are_no_markup():
    strange = Refusal("s", "k", "", "[red]CT[/nonsense]", "refused", Reason("malformed", "[bold]what[/] it said"))
    text = said(Outcome((), (strange,), Intake("/x", (), ())))
    assert "[red]CT[/nonsense]" in text
    assert "[bold]what[/] it said" in text


def test_a_header_cannot_steer_the_terminal():
    hostile = Refusal("s", "k", "", "CT\x1b]0;owned\x07\x1b[2J", "refused", Reason("malformed", "two\nlines\udcff"))
    text = said(Outcome((), (hostile,), Intake("/x", (), ()), ("would score   \x1b[2J",)))
    text += said(Outcome((), (hostile,), Intake("/x", (), ())))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "two\N{REPLACEMENT CHARACTER}lines\N{REPLACEMENT CHARACTER}" in text
