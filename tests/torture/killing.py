"""`python -m medcam screen` killed at random moments, again and again, and what must be true afterwards."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcam.findings import summary
from medcam.results import Results
from tests.small_dicom import scene, write_dx
from tests.world import by_source, same_answers

SERVER = """
import json, os, runpy, sys
import medcam.scoring, medcam.screening, medcam.tables, medcam.models.resnet, medcam.transforms.xray
import medcam.explainers.gradcam, medcam.regions.threshold, medcam.uncertainty.augmentation, rich.console
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        said = os.open(os.environ["SAID"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(said, 1), os.dup2(said, 2), os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["medcam", *json.loads(line)]
        code = 0
        try:
            runpy.run_module("medcam", run_name="__main__", alter_sys=True)
        except SystemExit as left:
            code = left.code or 0
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
    sys.stdin.readline()  # until then its number is not given to another process
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Imports what takes seconds once, then runs each command as `python -m medcam` would, in a process of its own."""


PROC = Path("/proc/self/stat").exists()


class Server:
    """Starts processes that run medcam and can be killed."""

    def __init__(self, said: Path) -> None:
        self.said = said
        one_thread = {"OMP_NUM_THREADS": "1", "SAID": str(said)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | one_thread,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, arguments: Sequence[str], kill_after: float | None = None) -> int:
        """The exit code; -9 if it was killed before it was done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(arguments)) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        children: list[int] = []
        if kill_after is not None:
            until = time.monotonic() + kill_after
            while time.monotonic() < until and (alive(pid) or not PROC):
                time.sleep(0.005)
            children = children_of(pid)
            os.kill(pid, signal.SIGKILL)  # nothing happens if it has ended already
        self._process.stdin.write("wait for it\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        until = time.monotonic() + 10
        while any(alive(child) for child in children) and time.monotonic() < until:
            time.sleep(0.02)
        assert not any(alive(child) for child in children), "a decoding process outlived its parent"
        return code


def children_of(pid: int) -> list[int]:
    """Process numbers, where the system has /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Torment:
    """How often a screening was killed, and how it went on."""

    kills: int
    in_the_middle: int
    """Kills that left some cases finished and others not."""
    seed: int


def torment(folder: Path, bundle: str, images: int, kills: int) -> Torment:
    """Kill screenings of `images` X-rays until `kills` of them died, complete the run, and compare with an unbroken one."""
    seed = time.time_ns() % 10**9
    print(f"seed of the kills: {seed}")
    rng = random.Random(seed)
    for number in range(images):
        write_dx(folder / "in" / f"{number:03d}", scene((120, 100), (slice(20, 60), slice(30, 70)), number))
    name = "chest_xray_opacity"
    common = ["--pipeline", name, "--model", f"{name}={bundle}", "--uncertainty", "none", "--workers", "1"]
    command = ["screen", str(folder / "in"), *common, "--batch-size", "2", "--out"]
    whole, broken = folder / "whole", folder / "broken"
    middle = died = attempts = 0
    with Server(folder / "said") as server:
        begun = time.monotonic()
        assert server.run([*command, str(whole)]) == 0, server.said.read_text()
        duration = time.monotonic() - begun
        while died < kills:
            attempts += 1
            assert attempts < 10 * kills, "it ends before it can be killed"
            moment = rng.uniform(0, duration)
            if rng.random() < 0.25:  # the making of the folder is to be hit too
                shutil.rmtree(broken, ignore_errors=True)
                moment = rng.uniform(0, duration / 4)
            again = ["--force"] if died % 2 else []
            begun = time.monotonic()
            code = server.run([*command, str(broken), *again], kill_after=moment)
            assert code in (0, -signal.SIGKILL), server.said.read_text()
            duration = min(duration, time.monotonic() - begun) if code == 0 and again else duration
            died += code != 0
            middle += code != 0 and 0 < whole_cases(broken) < images
        assert server.run([*command, str(broken)]) == 0, server.said.read_text()
        assert "Traceback" not in server.said.read_text()
    same_answers(by_source(whole), by_source(broken))
    assert list((broken / "staging").iterdir()) == []
    consistent(broken)
    return Torment(died, middle, seed)


def whole_cases(out: Path) -> int:
    """How many cases a folder holds after a kill; every one of them must be whole."""
    if not (out / "medcam-results.json").exists():
        return 0
    results = Results.open(out)
    there = [path.name for path in (out / "cases").iterdir()]
    for key in {*results.keys()} & {*there}:
        results.case(key)
    for key in there:  # renamed, but not yet indexed
        results.case(key)
    results.close()
    return len(there)


def consistent(out: Path) -> None:
    """The index says of every case what the case says of itself, and of no other."""
    results = Results.open(out)
    assert {*results.keys()} == {path.name for path in (out / "cases").iterdir()}
    for row in results.rows():
        told = summary(results.case(row["key"]))
        assert (row["score"], row["decision"], row["place"]) == (told["score"], told["decision"], told["where"])
    results.close()
    for name in ("index.sqlite", "identifiers.sqlite"):
        database = sqlite3.connect(out / name)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
