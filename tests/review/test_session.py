"""A reading goes hidden -> locked -> revealed -> judged, and no other way."""

import pytest

from medcam.errors import UsageError
from medcam.findings import Verdict
from medcam.review.session import begin
from medcam.review.verdicts import add_verdict, check_chain, first_read, verdicts_of


def test_the_whole_way_with_a_first_read(folder, cases):
    case = cases[0]
    hidden = begin(folder, case.key, "A", hidden=True)
    assert (hidden.stage, hidden.shows_ai) == ("hidden", False)
    locked = hidden.lock("absent")
    assert (locked.stage, locked.shows_ai) == ("locked", False)
    assert first_read(folder, case.key, "A").answer == "absent", "stored before the reveal"
    revealed = locked.reveal()
    assert (revealed.stage, revealed.shows_ai) == ("revealed", True)
    judged, verdict = revealed.judge(case, "reject", "artefact", "  a clip ")
    assert judged.stage == "judged"
    assert (verdict.first_read, verdict.comment, verdict.model_hash) == ("absent", "a clip", "m" * 64)
    again, second = judged.judge(case, "unsure")
    assert again.stage == "judged"
    assert verdicts_of(folder, case.key) == (verdict, second)


def test_no_step_can_be_skipped(folder, cases):
    case = cases[0]
    hidden = begin(folder, case.key, "A", hidden=True)
    for step in (hidden.reveal, lambda: hidden.judge(case, "accept")):
        with pytest.raises(UsageError, match="wrong-stage"):
            step()
    locked = hidden.lock("present")
    for step in (lambda: locked.lock("absent"), lambda: locked.judge(case, "accept")):
        with pytest.raises(UsageError, match="wrong-stage"):
            step()
    with pytest.raises(UsageError, match="already-locked"):
        hidden.lock("absent")  # the same page, open twice
    open_ = begin(folder, cases[1].key, "A", hidden=False)
    with pytest.raises(UsageError, match="wrong-stage"):
        open_.lock("present")
    assert check_chain(folder).entries == 1


def test_a_session_begins_where_the_last_one_ended(folder, cases):
    case = cases[0]
    begin(folder, case.key, "A", hidden=True).lock("present")
    later = begin(folder, case.key, "A", hidden=True)
    assert (later.stage, later.first_answer) == ("locked", "present")
    assert begin(folder, case.key, "B", hidden=True).stage == "hidden"
    assert begin(folder, case.key, "", hidden=True).stage == "hidden"
    later.reveal().judge(case, "accept")
    assert begin(folder, case.key, "A", hidden=True).stage == "judged"
    add_verdict(folder, Verdict(cases[1].key, "B", "accept"))
    assert begin(folder, cases[1].key, "B", hidden=True).stage == "judged", "who has judged has seen the AI"


def test_a_rejection_needs_a_known_reason(folder, cases):
    session = begin(folder, cases[0].key, "A", hidden=False)
    with pytest.raises(UsageError, match="no-reason"):
        session.judge(cases[0], "reject")
    with pytest.raises(UsageError, match="unknown-reason"):
        session.judge(cases[0], "reject", "because")
    assert verdicts_of(folder, cases[0].key) == ()


def test_without_a_name_nothing_is_locked_or_judged(folder, cases):
    with pytest.raises(UsageError, match="no-reader"):
        begin(folder, cases[0].key, " ", hidden=True).lock("present")
    with pytest.raises(UsageError, match="no-reader"):
        begin(folder, cases[0].key, "", hidden=False).judge(cases[0], "accept")
    assert check_chain(folder).entries == 0
