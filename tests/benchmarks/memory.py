"""Peak memory of `medcam screen` in a process of its own, its decoding subprocesses included, by number of studies."""

import subprocess
import sys
import threading
from pathlib import Path

from tests.benchmarks import inputs
from tests.benchmarks.measure import Row, ratios, spread

ROOT = Path(__file__).resolve().parents[2]
SECONDS_BETWEEN_LOOKS = 0.02


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """50 and 400 studies by turns; `quick`: 5 and 40."""
    few, many = (5, 40) if quick else (50, 400)
    small = {"init_features": 16, "growth_rate": 8, "block_config": (2, 2, 2)}
    bundle = inputs.bundle(folder / "bundle", "chest_xray_opacity", "DenseNet", "xray", (128, 128), small)
    archives = {count: inputs.xrays(folder / f"{count}-xrays", count, 512) for count in (few, many)}
    peaks: dict[int, list[float]] = {few: [], many: []}
    for turn in range(rounds):
        for count, images in archives.items():
            peaks[count].append(peak_mib(images, folder / f"results-{count}-{turn}", bundle, count))
    details = f"{spread(peaks[few], 0)} MiB for {few} studies, {spread(peaks[many], 0)} MiB for {many}"
    what = f"peak memory of {many} studies over that of {few}"
    return [Row(what, spread(ratios(peaks[many], peaks[few])), "0.9 to 1.1", details)]


def peak_mib(images: Path, out: Path, bundle: Path, count: int) -> float:
    """The largest sum of resident memory of the process and its children, looked at many times a second.

    Raises:
        RuntimeError: the screening failed, or did not store every case.
    """
    model = f"chest_xray_opacity={bundle}"
    command = [sys.executable, "-m", "medcam", "screen", str(images), "--out", str(out), "--uncertainty", "none"]
    command += ["--pipeline", "chest_xray_opacity", "--model", model, "--device", "cpu"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SECONDS_BETWEEN_LOOKS):
            peak = max(peak, sum(resident_mib(pid) for pid in family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    stored = len(list((out / "cases").iterdir()))
    if code != 0 or stored != count:
        raise RuntimeError(f"exit code {code}, {stored} of {count} cases stored")
    return peak


def family(pid: int) -> list[int]:
    """A process and all that descend from it.

    A child that has not yet become another program is left out: it still lives in its parent's memory.
    """
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]
    except OSError:
        return []
    own = _text(Path(f"/proc/{pid}/cmdline"))
    others = [child for child in children if _text(Path(f"/proc/{child}/cmdline")) != own]
    return [pid, *(other for child in others for other in family(child))]


def resident_mib(pid: int) -> float:
    """Resident memory of one process, 0 once it is gone."""
    lines = [line.split() for line in _text(Path(f"/proc/{pid}/status")).splitlines()]
    return next((int(line[1]) / 1024 for line in lines if line[:1] == ["VmRSS:"]), 0.0)


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
