"""The pages about explanation methods say what the shelf says, and name nothing that is not there."""

import inspect
import re

import pytest

from docs.explainers import methods_page
from medcam.explainers import SHELF

MIGRATION = (methods_page.ROOT / "docs" / "explainers" / "migration.md").read_text()
AGAIN = "python -m docs.explainers.methods_page makes it anew"


def rows(page: str) -> dict[str, list[str]]:
    """Of the tables of methods, by the method."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells for cells in lines if len(cells) == 8}


def test_the_page_is_what_the_shelf_declares_and_the_benchmarks_measured() -> None:
    costs = methods_page.measured(methods_page.COSTS.read_text()) if methods_page.COSTS.exists() else {}
    assert methods_page.PAGE.read_text() == methods_page.text(methods_page.shelf(), costs), AGAIN
    readme = methods_page.README.read_text()
    assert readme == methods_page.with_rows(readme, methods_page.shelf()), AGAIN


@pytest.mark.parametrize("name", SHELF.names())
def test_every_method_has_its_row(name: str) -> None:
    method = SHELF.load(name)
    cells = rows(methods_page.PAGE.read_text())[name]
    assert cells[1].startswith((inspect.getdoc(method) or "").split("\n")[0][:40])
    assert cells[2] == method.unit
    assert (cells[3] == "for only") != method.signed
    assert cells[4] == ("yes" if method.class_specific else "no")
    assert cells[5] == methods_page.passes(method)
    assert cells[7] == method.paper
    assert f"`{name}`" in methods_page.README.read_text()


def test_costs_are_written_in_passes() -> None:
    costs = {name: methods_page.passes(SHELF.load(name)) for name in ("gradcam", "eigencam", "ablationcam", "legrad")}
    assert costs == {
        "gradcam": "1 F + 1 B",
        "eigencam": "1 F",
        "ablationcam": "1 F + (1 + one for each channel) T",
        "legrad": "1 F + (1 + one for each block) T + (one for each block) B",
    }


def test_what_is_recommended_is_on_the_shelf() -> None:
    named = {name for _, names, _ in methods_page.SITUATIONS for name in names}
    assert named <= set(SHELF.names())


def test_measured_costs_are_read_from_the_benchmarks_page() -> None:
    page = (
        "| measured | median |\n| `gradcam`, one class, Net, 1 x 1, in forwards | 1.04 (1.02 to 1.07) |  | declares |\n"
    )
    assert methods_page.measured(page) == {"gradcam": "1.04 (1.02 to 1.07)"}


def test_methods_to_migrate_to_exist() -> None:
    """In the tables "method there, here", in `method="..."`, and the second argument of `explain`."""
    tables = re.findall(r"\| method there \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", MIGRATION)
    here = [
        name for table in tables for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[2])
    ]
    written = re.findall(r'method="(\w+)"', MIGRATION) + re.findall(r'explain\(\w+, \w+, "(\w+)"', MIGRATION)
    assert len(here) > 15
    assert set(here) | set(written) <= set(SHELF.names())


def test_options_to_migrate_to_exist() -> None:
    from medcam.explainers import explain

    options = set(inspect.signature(explain).parameters)
    asked = {name for call in re.findall(r"explain\(([^`]*?)\)", MIGRATION) for name in re.findall(r"(\w+)=", call)}
    assert asked <= options | {"expected_class_idx"}  # torch-cam's own
    assert {"targets", "layer", "method"} <= asked
