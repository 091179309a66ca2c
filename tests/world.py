"""A folder whose content is known, and how to screen it and to look at what came out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medcam.findings import Case
from medcam.results import Results
from medcam.screening import Options, Outcome, screen
from tests.small_dicom import scene, write_ct, write_dx, write_us

DX_BLOCK = (slice(50, 80), slice(100, 140))
CT_BLOCK = (slice(16, 22), slice(20, 32), slice(40, 56))
US_BLOCK = (slice(5, 8), slice(30, 50), slice(60, 80))


def write_folder(folder: Path) -> Path:
    """Four X-rays, a CT and a cine, a bright block in each."""
    for i in range(4):
        write_dx(folder / f"dx{i}", scene((200, 180), DX_BLOCK, i))
    write_ct(folder / "ct", scene((30, 60, 70), CT_BLOCK) * 0.7 - 1500)  # -800 and 600 HU
    write_us(folder / "us", scene((12, 90, 100), US_BLOCK) / 15)  # 67 and 200
    return folder


@dataclass
class World:
    """A folder and how to screen it."""

    folder: Path
    models: dict[str, str]
    pipelines: tuple[str, ...] = ()

    def screen(self, out: Path, **options: object) -> Outcome:
        """Screen with one worker and without disturbances, unless told otherwise."""
        usual = {"models": self.models, "pipelines": self.pipelines, "workers": 1, "uncertainty": "none"}
        settings = usual | options
        return screen(self.folder, out, Options(**settings))


def cases(out: Path) -> list[Case]:
    """Every case of a results folder."""
    results = Results.open(out)
    found = list(map(results.case, results.keys()))
    results.close()
    return found


def by_source(out: Path) -> dict[tuple[str, str], Case]:
    """Cases by pipeline and the name of their first file."""
    results = Results.open(out)
    found = {
        (case.pipeline, Path(results.series(case.key).files[0].path).name): case
        for case in map(results.case, results.keys())
    }
    results.close()
    return found


def same_answers(one: dict[tuple[str, str], Case], other: dict[tuple[str, str], Case]) -> None:
    """Decisions and places are equal, numbers within 1e-5."""
    assert one.keys() == other.keys()
    for key, case in one.items():
        assert case.decision == other[key].decision
        assert case.prediction.score == pytest.approx(other[key].prediction.score, abs=1e-5)
        difference = np.abs(case.explanation.evidence - other[key].explanation.evidence)
        assert difference.max() <= 1e-5 * max(1.0, np.abs(case.explanation.evidence).max())
        assert [region.start for region in case.regions] == [region.start for region in other[key].regions]
