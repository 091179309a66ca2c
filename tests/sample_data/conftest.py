"""Whom the phantoms are of, and the validator of their objects."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sample_data import dicom


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
