"""A page says what was run, when, how long and on what, and is there only when it is whole."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medcam.cli import app
from medcam.errors import UsageError
from medcam.protocols import SHELF, Protocol
from medcam.protocols.base import Setting, reproduce


class Coin(Protocol):
    """Heads or tails.

    More about it.
    """

    name, paper, data = "coin", "Bernoulli, 1713.", "A coin. It has two sides."

    def run(self, setting: Setting) -> Sequence[str]:
        return ["## Thrown\n\nheads", "## Again\n\ntails"]


class Lost(Coin):
    """A coin that is not there."""

    def run(self, setting: Setting) -> Sequence[str]:
        raise UsageError("manifest", "There is no coin.")


def test_a_page_has_its_head_and_all_sections_in_order(tmp_path: Path) -> None:
    page = tmp_path / "new" / "coin.md"
    assert reproduce(Coin(), Setting(tmp_path, tmp_path / "work"), page, "medcam reproduce coin") == page
    text = page.read_text()
    assert text.startswith("# Heads or tails\n")
    parts = ("Research use only", "`medcam reproduce coin`", "Bernoulli, 1713.", "two sides", "\nheads", "\ntails")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert re.search(r"0 minutes on .*, \d{4}-\d\d-\d\d\.", text)
    assert str(tmp_path) not in text


def test_a_protocol_that_fails_leaves_the_page_that_was_there(tmp_path: Path) -> None:
    page = tmp_path / "coin.md"
    page.write_text("an older page")
    with pytest.raises(UsageError, match="no coin"):
        reproduce(Lost(), Setting(tmp_path, tmp_path / "work"), page, "")
    assert page.read_text() == "an older page"


@pytest.mark.parametrize("name", SHELF.names())
def test_every_protocol_says_what_was_published_and_what_its_data_cannot_show(name: str) -> None:
    protocol = SHELF.load(name)()
    assert protocol.name == name
    assert "omparison" in protocol.paper
    assert "abel" in protocol.data or "ruth" in protocol.data or "class" in protocol.data


def test_the_command_refuses_data_that_are_not_there_and_names_that_nobody_knows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for name, wanted in (("breast_histology_patches", "manifest"), ("breast_histology", "breast_histology_patches")):
        ran = CliRunner().invoke(app, ["reproduce", name, "--data", str(tmp_path), "--out", str(page)])
        assert ran.exit_code != 0
        assert wanted in str(ran.exception) + ran.output
        assert not page.exists()
