"""What several test folders need."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from sample_data.archive import write_archive

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the repository; tests that need it skip where it is not."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data")
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of an archive of phantoms with seed 0, and its truth as read from truth.json. Only to be read."""
    out = tmp_path_factory.mktemp("archive")
    returned = write_archive(out)
    truth = json.loads((out / "truth.json").read_text())
    assert truth == json.loads(json.dumps(returned))
    return out, truth


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A bundle for each pipeline, with weights set by hand: evidence lies where an image is bright."""
    from tests.stand_ins import save_stand_ins

    return save_stand_ins(tmp_path_factory.mktemp("stand-ins"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, stand_ins: dict[str, str]) -> Any:
    """Four X-rays, a CT and a cine with a bright block in each. Only to be read."""
    from tests.world import World, write_folder

    return World(write_folder(tmp_path_factory.mktemp("folder")), stand_ins)


@pytest.fixture(scope="session")
def screened(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The results folder of that folder, and what the screening returned. Only to be read."""
    out = tmp_path_factory.mktemp("screened") / "results"
    return out, world.screen(out)


@pytest.fixture(scope="session")
def demonstration(archive: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], float]:
    """`medcam demo` over the session's archive: its folder, what it said, and the seconds it took. Only to be read."""
    from medcam.demo import run_demo
    from medcam.progress import Progress

    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(archive[0], folder / "archive", copy_function=os.link)
    said: list[str] = []
    begun = time.monotonic()
    run_demo(folder, Progress(quiet=True), said.append)
    return folder, said, time.monotonic() - begun
