"""What an explanation takes in memory, over what the forward pass takes: peaks above the loaded model and its input.

Each side runs in a new process, once on a small input, so that libraries are loaded and layers found; then the peak of
its resident memory is reset (`/proc/self/clear_refs`), and read after one call (VmHWM, Linux only). The allocator is
told to give every block back when it is freed (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), without which the same
run differs by half from one time to the next.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.explaining_sides import INPUTS, NETWORKS, QUICK, SIDES, Network, of_shape, text
from tests.benchmarks.measure import Row, ratios, spread

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "65536"
ABSENT = -1.0


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """Both networks, planes and volumes."""
    shapes = (QUICK if quick else INPUTS).values()
    return [compare(network, shape, rounds) for network in NETWORKS for shape in shapes]


def compare(network: Network, shape: tuple[int, ...], rounds: int) -> Row:
    """All sides, by turns."""
    peaks: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(rounds):
        for name in SIDES:
            peaks[name].append(peak_mib(name, network.name, shape))
    present = {name: each for name, each in peaks.items() if ABSENT not in each}
    beside = ", ".join(f"{name} {spread(each, 0)}" for name, each in present.items())
    what = f"peak memory of Grad-CAM of one class, {network.name}, {text(shape)}, over that of the forward pass"
    return Row(what, spread(ratios(present["medcam"], present["forward"])), "at most 1.2", f"MiB: {beside}")


def peak_mib(side: str, network: str, shape: tuple[int, ...]) -> float:
    """Of one side in a process of its own; ABSENT where its library is not installed."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.explaining_memory", side, network]
    surroundings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": BLOCK, "MALLOC_TRIM_THRESHOLD_": BLOCK}
    process = subprocess.run(
        [*command, *map(str, shape)], cwd=ROOT, env=surroundings, capture_output=True, text=True, check=True
    )
    return float(process.stdout.split()[-1])


def measured(side: str, network: Network, shape: tuple[int, ...]) -> float:
    """In this process: MiB."""
    explainer = SIDES[side](network, len(shape) - 2)
    if explainer is None:
        return ABSENT
    explainer(of_shape((*shape[:2], *(min(64, size) for size in shape[2:]))))
    x = of_shape(shape)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    explainer(x)
    return _status("VmHWM") - before


def _status(field: str) -> float:
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return next(int(line[1]) / 1024 for line in lines if line[0] == f"{field}:")


if __name__ == "__main__":
    by_name = {network.name: network for network in NETWORKS}
    print(measured(sys.argv[1], by_name[sys.argv[2]], tuple(int(size) for size in sys.argv[3:])))
