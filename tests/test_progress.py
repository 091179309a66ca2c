"""How long work is shown: lines where nobody watches, and never on standard output."""

import pickle
import sys

from medcam import progress
from medcam.progress import Progress


def test_a_line_at_the_end_and_one_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress() as shown:
        tick = shown.stage("headers")
        for done in range(1, 31):
            now[0] += 1.0
            tick(done, 30)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["headers: 11 of 30", "headers: 22 of 30", "headers: 30 of 30"]


def test_quiet_says_nothing(capsys):
    with Progress(quiet=True) as shown:
        shown.stage("headers")(5, 5)
        shown.say("epoch 1")
        shown.plain().say("epoch 2")
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress() as shown:
        tick = shown.stage("headers")
        tick(3, 4)
        tick(4, 4)
    said = capsys.readouterr()
    assert said.out == ""
    assert "headers" in said.err
    assert "4/4" in said.err


def test_a_line_stays_above_the_bars_and_other_processes_get_lines(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress() as shown:
        tick = shown.stage("steps")
        shown.say("epoch 1: loss [0.5]")
        tick(1, 1)
        shown.plain().stage("elsewhere")(1, 1)
        assert pickle.loads(pickle.dumps(shown.plain())).__dict__ == Progress().__dict__
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.index("epoch 1: loss [0.5]") < said.err.rindex("1/1")
    assert "elsewhere: 1 of 1" in said.err
