"""A radiologist's way through the reviewer in a real browser, and what that browser asks of the world."""

import subprocess
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

from medcam.findings import Refusal
from medcam.results import Results
from medcam.review.pictures import Pictures
from medcam.review.server import command, environment
from medcam.review.verdicts import first_read, verdicts_of
from medcam.study import Reason
from tests.apps.browser import chromium, free_port, missing, wait_for
from tests.results_maker import make_results

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"needs {missing()}")

OUTSIDE = "![x](http://127.0.0.2:9/spy.png) <img src=http://127.0.0.2:9/spy.png>"
"""Markdown and HTML that would load a picture from elsewhere, in words that come from headers and readers.

Elsewhere is an address that refuses at once: a request that hangs is not in the browser's list yet.
"""

READER = "R. Tester ![x](http://127.0.0.2:9/spy.png)"

GRID = "//*[@data-testid='stDataFrame']"
HEADER, ROW = 36, 38
RIGHT = "\ue014"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Address of a running reviewer, its results folder and cases."""
    folder = tmp_path_factory.mktemp("site") / "r"
    cases = make_results(folder)
    with Results.writer(folder) as results:
        reason = Reason("missing-slices", OUTSIDE)
        results.refuse([Refusal("study", "series", "chest_ct_nodule", OUTSIDE, "refused", reason)])
    port = free_port()
    process = subprocess.Popen(command(folder, port), env=environment(), stdout=subprocess.DEVNULL)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    health = f"http://127.0.0.1:{port}/_stcore/health"
    try:
        wait_for(lambda: direct.open(health, timeout=5).close() is None, "the server", 60)
        yield f"http://localhost:{port}", folder, cases
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


def panels(browser):
    return browser.script("return [...document.querySelectorAll('[class*=st-key-viewer] img')].map(image => image.src)")


def place(browser):
    return int(browser.script("return document.querySelector('input[type=range][aria-label=Slice]').value"))


def changed(browser, before):
    """The two panels once both differ from `before`."""
    return wait_for(
        lambda: (
            (now := panels(browser)) and len(now) == 2 and all(a != b for a, b in zip(now, before, strict=True)) and now
        ),
        "other pictures",
    )


def bytes_of(address):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=20) as answer:
        return answer.read()


def open_row(browser, row, key):
    """Click a row of the worklist, which draws itself on a canvas when it is ready: there is nothing to wait for."""
    browser.find(GRID)

    def clicked():
        time.sleep(1)
        if "case=" not in browser.script("return location.href"):
            browser.click_at(GRID, 200, HEADER + row * ROW + ROW // 2)
        return key in browser.script("return location.href")

    wait_for(clicked, f"the page of row {row}")


def foreign(browser):
    """What the page has asked of anybody but this machine."""
    addresses = [name for name in browser.resources() if "://" in name and not name.startswith("blob:")]
    assert addresses, "the page has loaded something"
    return [name for name in addresses if urlsplit(name).hostname not in ("localhost", "127.0.0.1")]


def settled(browser):
    """Wait until the server has answered what was just done, as a reader does who sees the page change."""
    time.sleep(0.3)
    wait_for(lambda: browser.script(f"return document.querySelector('{IDLE}') !== null"), "an idle page")


def test_worklist_case_keys_verdict(site, browser):
    address, folder, cases = site
    case = cases[3]
    results = Results.open(folder)
    pictures = Pictures(results, case)
    results.close()
    browser.open(address)
    open_row(browser, 2, case.key)
    wait_for(lambda: len(panels(browser)) == 2, "two pictures")
    assert wait_for(lambda: place(browser) == 8, "the peak slice")

    peak = panels(browser)
    assert bytes_of(peak[0]) == pictures.original(7, "lung"), "the browser gets exactly these bytes"
    assert bytes_of(peak[1]) == pictures.overlay(7, "lung", 0.5, 0.25)
    browser.press(RIGHT)
    following = changed(browser, peak)
    assert wait_for(lambda: place(browser) == 9, "one slice on")
    assert bytes_of(following[1]) == pictures.overlay(8, "lung", 0.5, 0.25)
    for _ in range(3):
        browser.press("\ue012")
    assert wait_for(lambda: place(browser) == 6, "three quick presses are three slices")
    browser.wheel("(//*[contains(@class, 'st-key-viewer')]//img)[2]", 120)
    assert wait_for(lambda: place(browser) == 8, "the wheel steps too")
    wait_for(lambda: panels(browser) == peak, "the peak again")

    browser.press("x")
    settled(browser)
    browser.type("//input[@placeholder='Your name']", f"{READER}\ue007")
    settled(browser)
    browser.click("//*[contains(@class, 'st-key-reason')]//input")
    browser.click("//*[@role='option'][contains(., 'artefact')]")
    settled(browser)
    browser.type("//textarea", OUTSIDE)
    browser.click("//*[contains(@class, 'st-key-save')]//button[not(@disabled)]")
    (stored,) = wait_for(lambda: verdicts_of(folder, case.key), "the stored verdict")
    assert (stored.reader, stored.agreement, stored.reason) == (READER, "reject", "artefact")
    assert stored.comment == OUTSIDE, "quick typing and saving loses no word"
    wait_for(lambda: f"Saved: reject by {READER}" in browser.text(), "the page to say so")
    browser.click("//*[@role='tab'][contains(., 'Verdicts (1)')]")
    wait_for(lambda: "Verdicts (1)" in browser.text(), "the history")
    time.sleep(1)
    assert foreign(browser) == []

    browser.open(address)
    browser.click("//*[contains(text(), 'Not scored: 2 series')]")
    time.sleep(1)
    assert "5 unreviewed" in browser.text()
    assert foreign(browser) == []


def test_before_the_lock_no_byte_of_the_ai_reaches_the_browser(site, browser):
    address, folder, cases = site
    case = cases[4]
    results = Results.open(folder)
    pictures = Pictures(results, case)
    results.close()
    browser.open(address)
    browser.type("//input[@placeholder='Your name']", "Second\ue007")
    browser.click("//*[contains(@class, 'st-key-hidden')]//label")
    wait_for(lambda: "results are hidden" in browser.text(), "the hidden worklist")
    open_row(browser, sorted(one.key for one in cases).index(case.key), case.key)
    wait_for(lambda: len(panels(browser)) == 1, "the original alone")
    time.sleep(1)
    media = [name for name in browser.resources() if urlsplit(name).path.startswith("/media/")]
    assert {bytes_of(name) for name in media} == {pictures.original(pictures.middle)}
    text = browser.text()
    for word in (f"{case.prediction.score:.2f}", "score", "threshold", "logit", "demonstration", "region"):
        assert word not in text.lower(), word
    browser.press("1")
    browser.click("//*[contains(@class, 'st-key-lock')]//button[not(@disabled)]")
    wait_for(lambda: len(panels(browser)) == 2, "the reveal")
    assert first_read(folder, case.key, "Second").answer == "present"
    assert bytes_of(panels(browser)[1]) == pictures.overlay(pictures.peak, "", 0.5, 0.25)
    assert foreign(browser) == []
