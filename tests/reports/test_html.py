"""Pages that fetch nothing, run nothing, and show hostile text as text."""

import base64
import io
import re
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from medcam.reports import DISCLAIMER, write_reports
from tests.reports.conftest import CANARIES, keep, tool


class Page(HTMLParser):
    """Tags with attributes, and all text outside style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.hidden = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag == "style"

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.hidden = self.hidden and tag != "style"

    def handle_data(self, data):
        if not self.hidden:
            self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def pages(folder):
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}


def test_every_case_and_the_overview_have_a_page(anonymous, results):
    names = {path.name for path in pages(anonymous)}
    assert names == {"index.html", *(f"{key}.html" for key in results.keys())}  # noqa: SIM118


def test_nothing_is_fetched_and_nothing_runs(anonymous, identified):
    for folder in (anonymous, identified):
        for path, page in pages(folder).items():
            allowed = {"a", "b", "body", "dd", "div", "dl", "dt", "figcaption", "figure", "footer", "h1", "h2", "head"}
            allowed |= {"header", "html", "image", "main", "meta", "p", "polyline", "rect", "section", "span", "style"}
            allowed |= {"svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr"}
            assert {tag for tag, _ in page.tags} <= allowed, path
            for tag, attributes in page.tags:
                assert not [name for name in attributes if name.startswith("on")], "no event handlers"
                for name in ("src", "href", "xlink:href", "action", "data"):
                    address = attributes.get(name)
                    inside = tag == "image" and address and address.startswith("data:image/jpeg;base64,")
                    linked = tag == "a" and address and (path.parent / address).is_file()
                    assert address is None or inside or linked, address
            policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
            assert policy.startswith("default-src 'none'")
            assert "url(" not in path.read_text(encoding="utf-8")
            assert "@import" not in path.read_text(encoding="utf-8")


def test_pictures_are_small_display_copies(anonymous):
    for page in pages(anonymous).values():
        for tag, attributes in page.tags:
            if tag == "image":
                content = base64.b64decode(attributes["href"].split(",")[1])
                assert Image.open(io.BytesIO(content)).width <= 700
        if any(tag == "image" for tag, _ in page.tags):
            assert "Pictures are display copies" in page.words


def test_disclaimer_decision_and_review_stand_on_every_page(anonymous, cases):
    for path, page in pages(anonymous).items():
        assert page.words.count(DISCLAIMER) >= 2, path
    for case in cases.values():
        words = pages(anonymous)[anonymous / case.key / f"{case.key}.html"].words
        assert case.decision.text in words
        assert case.question in words


def test_verdicts_are_picked_up(anonymous, results):
    readers = ("Reader One", "Reader Two")
    named = [path for path, page in pages(anonymous).items() if all(reader in page.words for reader in readers)]
    assert len(named) == 2, "the case's page and the overview"
    page = next(page for path, page in pages(anonymous).items() if path in named and path.name != "index.html")
    assert "Readers disagree: Reader One accepts the AI finding; Reader Two rejects the AI finding." in page.words
    assert "clear <b>opacity</b>" in page.words, "markup in a comment is shown, not obeyed"
    assert "Reader Two judged another model (version 0.9)" in page.words
    others = [page for path, page in pages(anonymous).items() if path not in named]
    assert all("Unreviewed: AI output, not verified by a human." in page.words for page in others)


def test_hostile_tags_are_text(scratch, cases, tmp_path):
    attack = "</p><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}'\""
    facts = {"Manufacturer": attack, "StationName": "=cmd|' /C calc'!A0"}
    case = keep(scratch, cases["image, flagged"], facts=facts, question=attack, selection=attack, finding="a<b>&c")
    write_reports(scratch, ["html"], tmp_path / "out", cases=[case.key])
    for path, page in pages(tmp_path / "out").items():
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "img"}, path
        if path.name != "index.html":
            assert page.words.count("<script>alert(1)</script>") == 4, "question twice, selection, header"
            assert "=cmd|' /C calc'!A0" in page.words
            assert "{{ 7*7 }}" in page.words
        assert "a<b>&c" in page.words


def test_no_identifier_unless_asked_for(anonymous, identified):
    for path in anonymous.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for canary in CANARIES:
            assert canary not in text, path
    for path in identified.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "Canary^Patient" in text
        assert "PID-CANARY-77" in text
        assert "/archive/" not in text, "paths are nobody's business"
        if path.name != "index.html":
            assert "ACC-CANARY-9" in text
            assert "1.2.826.0.1.3680043.10.77." in text
            assert "19330303" in text


def test_the_overview_puts_first_what_needs_a_human(anonymous):
    page = pages(anonymous)[anonymous / "index.html"]
    rows = re.findall(r"(refer|flagged|demonstration only|not flagged) (?:opacity|nodule)", page.words)
    assert rows == ["refer", "flagged", "flagged", "demonstration only", "not flagged", "not flagged"]
    assert "missing-slices" in page.words
    assert "gap of 10 mm after slice 12" in page.words
    assert '"Not flagged" does not mean normal' in page.words
    linked = {a["href"].rsplit(".", 1)[1] for t, a in page.tags if t == "a"}
    assert linked == {"html", "pdf", "json", "dcm"}
    assert page.words.count("sc_cine") == 1


@pytest.mark.parametrize("which", ["image, flagged", "volume, flagged"])
def test_on_paper_every_page_says_research_use_only(anonymous, cases, which, tmp_path):
    chromium, pdftotext = tool("chromium"), tool("pdftotext")
    key = cases[which].key
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    flags += "--disable-component-update --disable-sync --no-pdf-header-footer"
    address = (anonymous / key / f"{key}.html").as_uri()
    target = tmp_path / "page.pdf"
    command = [chromium, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={target}", address]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    text = subprocess.run([pdftotext, "-layout", target, "-"], check=True, capture_output=True, text=True).stdout
    sheets = text.split("\f")[:-1]
    assert 2 <= len(sheets) <= 4
    assert all(DISCLAIMER in sheet for sheet in sheets)
