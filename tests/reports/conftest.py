"""One results folder with planted identifiers, and every report on it, once without and once with identifiers."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medcam.findings import Case, Verdict
from medcam.reports import SHELF, write_reports
from medcam.results import Results
from medcam.review.verdicts import add_verdict
from medcam.study import Identifiers
from tests.results_maker import make_results

SOP_CLASSES = {
    "image": "1.2.840.10008.5.1.4.1.1.1.1",
    "volume": "1.2.840.10008.5.1.4.1.1.2.1",
    "cine": "1.2.840.10008.5.1.4.1.1.3.1",
    "slide": "1.2.840.10008.5.1.4.1.1.77.1.6",
}
CANARIES = (
    *("Canary^Patient", "PID-CANARY-77", "19330303", "ACC-CANARY-9", "SID-CANARY", "20200202", "091500.5"),
    *("1.2.826.0.1.3680043.10.77.", "/archive/"),
)
"""What must not leave the results folder unless it is asked for."""


def keep(results: Results, case: Case, **changes: object) -> Case:
    """Store a case once more with some fields changed, its source and pictures as they are."""
    series = results.series(case.key)
    assert series is not None
    changed = replace(case, **changes)
    pictures = {picture.file: (results.path(case.key) / picture.file).read_bytes() for picture in changed.key_images}
    results.add(changed, series, pictures, results.pixels(case.key))
    return changed


def identify(results: Results, case: Case, number: int) -> None:
    """Give the case's source identifiers that would be noticed, and true SOP classes."""
    series = results.series(case.key)
    assert series is not None
    root = f"1.2.826.0.1.3680043.10.77.{number}"
    ids = Identifiers(
        *(f"PID-CANARY-77{number}", "Canary^Patient", f"ACC-CANARY-9{number}", root, f"{root}.1"),
        *("19330303", "F", f"SID-CANARY{number}", "20200202", "091500.5"),
    )
    files = tuple(
        replace(f, sop_instance_uid=f"{root}.1.1", sop_class_uid=SOP_CLASSES[case.kind]) for f in series.files
    )
    pictures = {picture.file: (results.path(case.key) / picture.file).read_bytes() for picture in case.key_images}
    results.add(case, replace(series, files=files, identifiers=ids), pictures, results.pixels(case.key))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose first case was judged by two readers who disagree."""
    path = tmp_path_factory.mktemp("reports") / "results"
    cases = make_results(path)
    with Results.writer(path) as results:
        for number, case in enumerate(cases, start=1):
            identify(results, case, number)
    add_verdict(path, Verdict(cases[0].key, "Reader One", "unsure"))
    add_verdict(path, Verdict(cases[0].key, "Reader One", "accept", "", "clear <b>opacity</b>"))
    add_verdict(path, Verdict(cases[0].key, "Reader Two", "reject", "wrong place", "", "", "0.9", "old" * 20))
    return path


@pytest.fixture(scope="session")
def results(folder: Path):
    opened = Results.open(folder)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def cases(results: Results) -> dict[str, Case]:
    """Cases by "kind, decision"."""
    every = [results.case(key) for key in results.keys()]  # noqa: SIM118  # a method of Results
    return {f"{case.kind}, {case.decision.text}": case for case in every}


@pytest.fixture(scope="session")
def anonymous(folder: Path, results: Results) -> Path:
    """Every report, without identifiers."""
    out = folder.parent / "anonymous"
    write_reports(results, SHELF.names(), out)
    return out


@pytest.fixture(scope="session")
def identified(folder: Path, results: Results) -> Path:
    """Every report, with identifiers."""
    out = folder.parent / "identified"
    write_reports(results, SHELF.names(), out, include_identifiers=True)
    return out


@pytest.fixture
def scratch(folder: Path, tmp_path: Path):
    """A copy of the results folder that a test may change, open for writing."""
    shutil.copytree(folder, tmp_path / "results")
    with Results.writer(tmp_path / "results") as results:
        yield results


def tool(name: str) -> str:
    """A system tool, or the test is skipped by its name."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found
