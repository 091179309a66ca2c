"""The order of the worklist by hand, and what counts as reviewed."""

from dataclasses import replace

import pytest

from medcam.findings import Verdict
from medcam.results import Results
from medcam.review.verdicts import add_verdict
from medcam.review.worklist import Row, chosen, latest, next_unread, pressing, unaided, worklist


@pytest.fixture
def results(folder):
    opened = Results.open(folder)
    yield opened
    opened.close()


def row(key, outcome="flagged", score=0.5, score_sd=0.0, **more):
    return Row(key, "p", "f", "DX", outcome, outcome, score, 0.5, score_sd, "", more.pop("said", ()), **more)


def test_refer_first_then_score_then_doubt():
    rows = [
        row("a", "flagged", 0.99),
        row("b", "not flagged", 0.10),
        row("c", "refer", 0.45),
        row("d", "refer", 0.52),
        row("e", "flagged", 0.801, 0.01),
        row("f", "flagged", 0.799, 0.20),  # shown as 0.80 like e, but more doubtful
        row("h", "flagged", 0.80, 0.01),
    ]
    assert [one.key for one in sorted(rows, key=pressing)] == ["d", "c", "a", "f", "e", "h", "b"]


def test_the_made_folder_in_order(results, cases):
    # scores by hand, 1 / (1 + exp(-logit)): refer 0.50; then 0.88, 0.82, 0.73, 0.27, 0.05
    wanted = [cases[2], cases[0], cases[3], cases[4], cases[5], cases[1]]
    assert [one.key for one in worklist(results)] == [case.key for case in wanted]
    assert [round(one.score, 2) for one in worklist(results)] == [0.50, 0.88, 0.82, 0.73, 0.27, 0.05]


def test_the_unaided_order_does_not_follow_the_ai(results):
    rows = worklist(results)
    flipped = [replace(one, score=1 - one.score, outcome="refer") for one in rows]
    assert [one.key for one in unaided(rows)] == [one.key for one in unaided(sorted(flipped, key=pressing))]


def test_status_follows_each_readers_last_word(folder, results, cases):
    key = cases[0].key

    def status():
        return next(one for one in worklist(results) if one.key == key).status

    assert status() == "unreviewed"
    add_verdict(folder, Verdict(key, "A", "accept"))
    assert status() == "reviewed"
    add_verdict(folder, Verdict(key, "B", "reject", "artefact"))
    assert status() == "disagreement"
    add_verdict(folder, Verdict(key, "B", "accept"))
    assert status() == "reviewed"
    assert next(one for one in worklist(results) if one.key == key).said == (("A", "accept"), ("B", "accept"))


def test_a_verdict_on_another_models_result_leaves_the_case_unreviewed(folder, results, cases):
    add_verdict(folder, Verdict(cases[0].key, "A", "accept", model_version="0", model_hash="older"))
    assert next(one for one in worklist(results) if one.key == cases[0].key).status == "unreviewed"


def test_latest_keeps_the_order_of_first_words():
    said = [Verdict("k", "B", "reject"), Verdict("k", "A", "accept"), Verdict("k", "B", "unsure")]
    assert latest(said) == (("B", "unsure"), ("A", "accept"))


def test_filters():
    rows = [
        row("a", said=(("R", "accept"),)),
        row("b", "refer", said=(("R", "accept"), ("S", "reject"))),
        row("c", "not flagged"),
        replace(row("d"), pipeline="q"),
    ]

    def keys(**filters):
        return "".join(one.key for one in chosen(rows, **filters))

    assert keys() == "abcd"
    assert keys(pipelines=["q"]) == "d"
    assert keys(decisions=["refer", "not flagged"]) == "bc"
    assert keys(statuses=["disagreement"]) == "b"
    assert keys(statuses=["reviewed"]) == "a"
    assert keys(readers=["S"]) == "b"
    assert keys(readers=["R"], decisions=["flagged"]) == "a"
    assert keys(unread_by="S") == "acd"


def test_next_unread_goes_on_from_here_and_round():
    rows = [row("a"), row("b", said=(("R", "accept"),)), row("c"), row("d", said=(("S", "accept"),))]
    assert next_unread(rows).key == "a"
    assert next_unread(rows, after="a").key == "c"
    assert next_unread(rows, after="c").key == "a"
    assert next_unread(rows, after="c", reader="R").key == "d"
    assert next_unread(rows, after="gone").key == "a"
    assert next_unread(rows[1:2]) is None
    assert next_unread(rows[:1], after="a") is None, "the case at hand is not the next one"
