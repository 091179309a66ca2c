"""Verdicts stay as they were said, whoever writes at the same time and whoever tries to change them."""

import multiprocessing
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from medcam.errors import ResultsError, UsageError
from medcam.findings import Verdict
from medcam.review.verdicts import (
    FILE,
    add_verdict,
    all_verdicts,
    check_chain,
    first_read,
    lock_first_read,
    verdicts_of,
)


@pytest.fixture
def keys(cases):
    return [case.key for case in cases]


def test_verdicts_come_back_in_order_with_time_and_model(folder, keys):
    assert verdicts_of(folder, keys[0]) == ()
    assert not (folder / FILE).exists(), "reading makes no file"
    before = datetime.now(UTC) - timedelta(seconds=1)
    first = add_verdict(folder, Verdict(keys[0], " R. Tester ", "reject", "wrong place", "näher am Hilus"))
    add_verdict(folder, Verdict(keys[1], "Second", "unsure"))
    add_verdict(folder, Verdict(keys[0], "Second", "accept", model_version="9", model_hash="h"))
    assert verdicts_of(folder, keys[0])[0] == first
    assert (first.reader, first.model_version, first.model_hash) == ("R. Tester", "1", "m" * 64)
    assert before <= datetime.fromisoformat(first.time) <= datetime.now(UTC)
    assert [(v.case_key, v.agreement) for v in all_verdicts(folder)] == [
        (keys[0], "reject"), (keys[1], "unsure"), (keys[0], "accept"),
    ]  # fmt: skip
    assert verdicts_of(folder, keys[0])[1].model_version == "9", "what the reader saw, not what is there now"


@pytest.mark.parametrize("reader", ["", "  ", "two\nlines", "x" * 101])
def test_nothing_is_saved_without_a_reader(folder, keys, reader):
    with pytest.raises(UsageError, match="reader"):
        add_verdict(folder, Verdict(keys[0], reader, "accept"))
    with pytest.raises(UsageError, match="reader"):
        lock_first_read(folder, keys[0], reader, "present")
    assert check_chain(folder).entries == 0


def test_unknown_words_cases_and_folders_are_refused(folder, keys, tmp_path):
    with pytest.raises(UsageError, match="unknown-agreement"):
        add_verdict(folder, Verdict(keys[0], "R", "maybe"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown-answer"):
        lock_first_read(folder, keys[0], "R", "perhaps")  # type: ignore[arg-type]
    for key in ("nobody", f"../cases/{keys[0]}", ""):
        with pytest.raises(UsageError, match="unknown-case"):
            add_verdict(folder, Verdict(key, "R", "accept"))
    with pytest.raises(ResultsError, match="not-results"):
        add_verdict(tmp_path, Verdict(keys[0], "R", "accept"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET content='{}' WHERE number=1",
        "DELETE FROM entries WHERE number=2",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT 1, kind, case_key, '{}', digest FROM entries WHERE number=1",
        "INSERT INTO entries SELECT number + 7, kind, case_key, content, digest FROM entries WHERE number=1",
        "REPLACE INTO entries VALUES (2, 'verdict', 'k', '{}', 'd')",
    ],
)
def test_the_database_refuses_changes(folder, keys, statement):
    add_verdict(folder, Verdict(keys[0], "R", "accept"))
    add_verdict(folder, Verdict(keys[0], "R", "reject", "artefact"))
    said = all_verdicts(folder)
    with closing(sqlite3.connect(folder / FILE)) as connection, pytest.raises(sqlite3.IntegrityError, match="append"):
        connection.execute(statement)
    assert all_verdicts(folder) == said
    assert check_chain(folder).entries == 2


def tamper(folder, statement):
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        for name in ("never_changed", "never_removed", "only_appended"):
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE entries SET content=replace(content, 'accept', 'reject') WHERE number=2", 2),
        ("UPDATE entries SET case_key='other' WHERE number=3", 3),
        ("UPDATE entries SET kind='first read' WHERE number=1", 1),
        ("DELETE FROM entries WHERE number=2", 2),
        ("INSERT INTO entries SELECT 5, kind, case_key, content, digest FROM entries WHERE number=4", 5),
    ],
)
def test_tampering_behind_the_triggers_is_seen(folder, keys, statement, entry):
    for reader in "ABCD":
        add_verdict(folder, Verdict(keys[0], reader, "accept"))
    assert check_chain(folder).entries == 4
    tamper(folder, statement)
    with pytest.raises(ResultsError, match=f"Entry {entry} "):
        check_chain(folder)


def test_a_cut_off_tail_shows_in_the_head(folder, keys):
    add_verdict(folder, Verdict(keys[0], "A", "accept"))
    add_verdict(folder, Verdict(keys[0], "B", "accept"))
    head = check_chain(folder)
    tamper(folder, "DELETE FROM entries WHERE number=2")
    assert check_chain(folder) != head


def test_a_damaged_file_is_a_clear_sentence(folder, keys):
    for _ in range(40):
        add_verdict(folder, Verdict(keys[0], "A", "accept", comment="x" * 500))
    content = bytearray((folder / FILE).read_bytes())
    content[8192:20480] = b"\xff" * 12288
    (folder / FILE).write_bytes(content)
    with pytest.raises(ResultsError, match="verdicts-"):
        check_chain(folder)


def test_a_file_that_cannot_be_opened_is_a_clear_sentence(folder, keys):
    (folder / FILE).mkdir()
    try:
        with pytest.raises(ResultsError, match="not-writable"):
            add_verdict(folder, Verdict(keys[0], "A", "accept"))
    finally:
        (folder / FILE).rmdir()


def write_many(folder, key, reader):
    for number in range(25):
        add_verdict(folder, Verdict(key, reader, "accept", comment=str(number)))


def test_four_processes_write_at_once(folder, keys):
    context = multiprocessing.get_context("spawn")
    readers = ["A", "B", "C", "D"]
    processes = [context.Process(target=write_many, args=(folder, keys[0], reader)) for reader in readers]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    said = verdicts_of(folder, keys[0])
    assert len(said) == 100
    for reader in readers:
        assert [v.comment for v in said if v.reader == reader] == [str(n) for n in range(25)]
    assert check_chain(folder).entries == 100


def test_first_read_is_locked_once_and_before_the_first_verdict(folder, keys):
    assert first_read(folder, keys[0], "A") is None
    with pytest.raises(UsageError, match="first-read-not-locked"):
        add_verdict(folder, Verdict(keys[0], "A", "accept", first_read="present"))
    lock_first_read(folder, keys[0], "A", "absent")
    assert first_read(folder, keys[0], "A").answer == "absent"
    with pytest.raises(UsageError, match="already-locked"):
        lock_first_read(folder, keys[0], "A", "present")
    with pytest.raises(UsageError, match="first-read-not-locked"):
        add_verdict(folder, Verdict(keys[0], "A", "accept", first_read="present"))  # not what was locked
    for other in (
        Verdict(keys[0], "B", "accept", first_read="absent"),
        Verdict(keys[1], "A", "accept", first_read="absent"),
    ):
        with pytest.raises(UsageError, match="first-read-not-locked"):
            add_verdict(folder, other)  # another reader's or case's lock does not count
    stored = add_verdict(folder, Verdict(keys[0], "A", "reject", "artefact"))
    assert stored.first_read == "absent", "a locked answer goes with every later verdict of its reader"
    add_verdict(folder, Verdict(keys[0], "B", "accept"))
    with pytest.raises(UsageError, match="already-seen"):
        lock_first_read(folder, keys[0], "B", "present")
    assert check_chain(folder).entries == 3
    assert len(verdicts_of(folder, keys[0])) == 2
