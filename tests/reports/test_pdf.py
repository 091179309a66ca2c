"""Every page of the PDF is marked and numbered, and its words are those of the other reports."""

import re
import subprocess

import pytest

from medcam.findings import Verdict
from medcam.reports import DISCLAIMER, write_reports
from medcam.reports._content import content
from medcam.reports._typefaces import markup, runs
from medcam.reports.base import Context
from medcam.review.verdicts import add_verdict
from tests.reports.conftest import CANARIES, keep, tool
from tests.reports.test_content import words


def sheets(path):
    """The text of each page."""
    command = [tool("pdftotext"), "-layout", str(path), "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\f")[:-1]


def flat(text):
    return re.sub(r"\s+", "", text)


def test_every_page_carries_disclaimer_number_and_no_patient(identified, cases):
    for case in cases.values():
        pages = sheets(identified / case.key / f"{case.key}.pdf")
        assert 2 <= len(pages) <= 4
        for number, page in enumerate(pages, start=1):
            head, foot = page.strip().splitlines()[0], page.strip().splitlines()[-1]
            assert DISCLAIMER in foot
            assert f"Page {number} of {len(pages)}" in foot
            assert "medcam-toolkit" in head
            assert "Canary" not in head + foot


def test_the_pdf_says_what_the_content_says(anonymous, results, cases):
    for case in cases.values():
        text = flat("".join(sheets(anonymous / case.key / f"{case.key}.pdf")))
        said = content(case, Context(results, ""))
        for name in ("finding", "technique", "images", "limits", "model"):
            for line in words(said, name).splitlines():
                long = len(line) > 60  # wrapped beside other cells, so only its beginning stays together
                assert flat(line)[: 20 if long else None] in text, line


def test_no_identifier_unless_asked_for(anonymous, identified, results):
    for key in results.keys():  # noqa: SIM118  # a method of Results
        text = "".join(sheets(anonymous / key / f"{key}.pdf"))
        raw = (anonymous / key / f"{key}.pdf").read_bytes()
        for canary in CANARIES:
            assert canary not in text
            assert canary.encode() not in raw, "nor in the document's properties"
        text = "".join(sheets(identified / key / f"{key}.pdf"))
        for canary in ("Canary^Patient", "PID-CANARY-77", "ACC-CANARY-9", "19330303", "1.2.826.0.1.3680043.10.77."):
            assert canary in text


def test_hostile_and_foreign_words_arrive_as_they_are(scratch, cases, tmp_path):
    attack = '<font size="99">&amp;</para><a href="http://x">click</a>'
    case = keep(scratch, cases["image, flagged"], facts={"Manufacturer": attack}, question="Żółć и Ωmega?")
    add_verdict(scratch.folder, Verdict(case.key, "山田 太郎", "accept"))
    write_reports(scratch, ["pdf"], tmp_path / "out", cases=[case.key])
    path = tmp_path / "out" / case.key / f"{case.key}.pdf"
    text = flat("".join(sheets(path)))
    assert flat(attack)[:24] in text
    assert flat("Żółć и Ωmega?") in text
    assert "山田太郎" in text
    assert b"http://x" not in path.read_bytes(), "no link was made"


@pytest.mark.parametrize(
    ("given", "faces"),
    [
        ("plain & <b>", ["Helvetica"]),
        ("Grad ±µ", ["Helvetica"]),
        ("Żółw", ["DejaVuSans", "Helvetica", "DejaVuSans", "Helvetica"]),
        ("東京", ["HeiseiKakuGo-W5"]),
        ("김", ["HYGothic-Medium"]),
    ],
)
def test_each_character_gets_a_face_that_has_it(given, faces):
    pytest.importorskip("matplotlib")
    found = runs(given)
    assert "".join(piece for _, piece in found) == given
    assert [face for face, _ in found] == faces


def test_a_character_without_a_face_is_spelt_out():
    assert "".join(piece for _, piece in runs("a\U0001f9ffb\x07")) == "a[U+1F9FF]b[U+0007]"
    assert markup("1 < 2 & 3") == "1 &lt; 2 &amp; 3"


def test_two_runs_differ_only_in_the_time_of_the_report(results, cases, tmp_path):
    key = cases["image, flagged"].key
    first, second = (write_reports(results, ["pdf"], tmp_path / name, cases=[key])[0] for name in "ab")
    strip = [re.sub(r"Reported.*", "", "".join(sheets(path))) for path in (first, second)]
    assert strip[0] == strip[1]
