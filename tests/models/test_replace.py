"""Folders that take each other's place, by processes that are killed at any moment."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medcam.models import _replace
from medcam.models._replace import replace_folder, settled

FILES = 40
LOOP = """
import sys, itertools
from pathlib import Path
from medcam.models import _replace
folder = Path(sys.argv[1])
if sys.argv[2] == "aside":
    _replace._exchanged = lambda one, other: False
for number in itertools.count():
    new = folder.with_name("new")
    new.mkdir()
    for name in range(int(sys.argv[3])):
        (new / str(name)).write_text(str(number))
    _replace.replace_folder(new, folder)
    if number == 0:
        print("going", flush=True)
"""


def filled(folder: Path, word: str) -> Path:
    folder.mkdir()
    (folder / "word").write_text(word)
    return folder


@pytest.mark.parametrize("exchanging", [True, False])
def test_the_new_folder_is_there_and_nothing_else(
    tmp_path: Path, exchanging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanging:
        monkeypatch.setattr(_replace, "_exchanged", lambda one, other: False)
    for word in ("first", "second", "third"):
        replace_folder(filled(tmp_path / "new", word), tmp_path / "folder")
        assert (tmp_path / "folder/word").read_text() == word
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="an exchange in one step is promised for Linux file systems")
def test_linux_exchanges_in_one_step(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one", "1"), filled(tmp_path / "other", "2")
    assert _replace._exchanged(one, other)
    assert ((one / "word").read_text(), (other / "word").read_text()) == ("2", "1")
    assert not _replace._exchanged(one, tmp_path / "nothing")


def test_what_stands_is_never_replaced_by_what_stepped_aside(tmp_path: Path) -> None:
    filled(tmp_path / ".folder.previous", "old")
    filled(tmp_path / "folder", "new")
    assert (settled(tmp_path / "folder") / "word").read_text() == "new"


@pytest.mark.parametrize("how", ["exchange", "aside"])
def test_a_killed_process_leaves_one_whole_folder(tmp_path: Path, how: str) -> None:
    draw = random.Random(0)
    for attempt in range(4):
        folder = tmp_path / str(attempt) / "folder"
        folder.parent.mkdir()
        command = [sys.executable, "-c", LOOP, str(folder), how, str(FILES)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(draw.uniform(0, 0.05))
            process.kill()
        words = [path.read_text() for path in settled(folder).iterdir()]
        assert len(words) == FILES
        assert len(set(words)) == 1
