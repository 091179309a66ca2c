"""An archive of phantoms, written once, and the validator of its objects."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sample_data import dicom
from sample_data.archive import write_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of an archive with seed 0, and its truth as read from truth.json."""
    out = tmp_path_factory.mktemp("archive")
    returned = write_archive(out)
    truth = json.loads((out / "truth.json").read_text())
    assert truth == json.loads(json.dumps(returned))
    return out, truth


@pytest.fixture(scope="session")
def dicom_errors() -> Callable[[Path], list[str]]:
    """Errors that dciodvfy, an independent validator, finds in a file."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("needs dciodvfy (Debian: dicom3tools)")

    def errors(path: Path) -> list[str]:
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        assert lines, f"dciodvfy did not recognise {path}"
        return [line for line in lines if line.startswith("Error")]

    return errors


@pytest.fixture
def patient() -> dicom.Patient:
    return dicom.Patient("P001", "Phantom^P001", "F", "19600203")


@pytest.fixture
def study() -> dicom.Study:
    return dicom.Study(dicom.uid("a study"), "1", "20240115", "101500", "CT chest")
