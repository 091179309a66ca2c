"""One results folder for the tests of review, without verdicts at the beginning of each test."""

from pathlib import Path

import pytest

from medcam.findings import Case
from medcam.review.verdicts import FILE
from tests.results_maker import make_results


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> tuple[Path, list[Case]]:
    folder = tmp_path_factory.mktemp("review") / "r"
    return folder, make_results(folder)


@pytest.fixture
def folder(made) -> Path:
    """The results folder without any verdict."""
    (made[0] / FILE).unlink(missing_ok=True)
    return made[0]


@pytest.fixture
def cases(made) -> list[Case]:
    """Opacity flagged, not flagged and to refer; CT flagged; ultrasound demonstration; slide not flagged."""
    return made[1]
