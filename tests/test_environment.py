"""One set of pins: pyproject.toml states ranges, requirements.lock pins them, environment.yml and make install the lock."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {canonical(line.split("==")[0]): Version(line.split("==")[1]) for line in lines if line and line[0] != "#"}


def wanted():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras if name != "peers")]  # those are never needed
    return [Requirement(text) for one in lists for text in one if not text.startswith("medcam-toolkit")]


def test_every_requirement_is_pinned_inside_its_range():
    locked = pins()
    for requirement in wanted():
        assert requirement.specifier.contains(locked[canonical(requirement.name)]), requirement


def test_torch_is_the_one_release_that_ships_for_processors():
    assert str(pins()["torch"]) == "2.13.0"
    assert "torch==2.13.0" in (ROOT / "Makefile").read_text()


def test_conda_users_and_make_install_the_same_lock():
    assert "- -r requirements.lock" in (ROOT / "environment.yml").read_text()
    assert "-r requirements.lock" in (ROOT / "Makefile").read_text()


def test_no_library_with_a_forbidding_licence_is_pinned():
    assert not set(pins()) & {"pylibjpeg-libjpeg", "streamlit-label-kit", "quantus", "zennit", "grad-cam"}


def test_the_lock_is_what_runs_here():
    from importlib.metadata import version

    for name in ("pydicom", "monai", "numpy", "highdicom", "streamlit"):
        assert Version(version(name)) == pins()[name]
