"""Imports run in one direction, members stand alone, and light parts stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "errors", "plugins", "record", "storage", "grid", "study", "findings", "pipeline", "selection", "display", "progress", "readers", "transforms", "data",
    "models", "explainers", "uncertainty", "reliability", "regions", "evaluation", "training", "protocols", "results", "outdating", "review", "reports",
    "casework", "scoring", "explaining", "screening", "tables", "demo", "cli", "__main__",
)  # fmt: skip
SHELVES = ("readers", "transforms", "models", "explainers", "uncertainty", "regions", "protocols", "reports")
LIGHT = ("study", "findings", "pipeline", "display", "results", "review", "reports", "readers", "plugins", "cli")


def modules():
    for path in sorted((ROOT / "medcam").rglob("*.py")):
        if path.relative_to(ROOT / "medcam").as_posix() != "__init__.py":
            yield path


def imported(path):
    """Dotted names of medcam modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("medcam"))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("medcam"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(dotted):
    return dotted.split(".")[1] if "." in dotted else ""


def test_every_part_has_its_place():
    found = {path.relative_to(ROOT / "medcam").parts[0].removesuffix(".py") for path in modules()}
    assert found <= set(ORDER)


def test_a_part_imports_only_itself_and_parts_above_it():
    wrong = []
    for path in modules():
        own = path.relative_to(ROOT / "medcam").parts[0].removesuffix(".py")
        for name in imported(path):
            other = part(name)
            if other in ORDER and other != own and ORDER.index(other) > ORDER.index(own):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_members_of_a_shelf_never_import_each_other():
    wrong = []
    for shelf in SHELVES:
        folder = ROOT / "medcam" / shelf
        members = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_") and path.stem != "base"}
        for member in members:
            for name in imported(folder / f"{member}.py"):
                parts = name.split(".")
                if len(parts) > 2 and parts[1] == shelf and parts[2] in members - {member}:
                    wrong.append(f"{shelf}/{member}.py imports {name}")
    assert wrong == []


def test_the_library_does_not_import_its_users_and_phantoms_stand_alone():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("apps", "pipelines", "streamlit", "tests") for name in names), path
    for path in (ROOT / "sample_data").rglob("*.py"):
        assert list(imported(path)) == [], path


@pytest.mark.parametrize("name", LIGHT)
def test_light_parts_do_not_load_torch_or_monai(name):
    code = f"import sys, medcam.{name}; print([m for m in ('torch', 'monai', 'highdicom', 'matplotlib', 'streamlit', 'SimpleITK', 'av') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
