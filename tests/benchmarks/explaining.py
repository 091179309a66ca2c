"""What an explanation costs, in forward passes: Grad-CAM of one class, and nine methods of five classes together.

The forward pass runs under `inference_mode`. Each library is asked in its own way, with a model of its own and the same
weights, once before the clock runs, so that layers are found and shapes traced; what that first call costs more is told
beside. `optimise=True` explains a copy with batch norms folded, in channels-last order and, where the processor has
instructions for it, with bfloat16 in front of the explained layer. Where a library can scale and enlarge its maps, it does so by default and that counts; medcam's are raw.
"""

import time
from pathlib import Path

from tests.benchmarks.explaining_sides import INPUTS, NETWORKS, QUICK, Network, available, of_shape, text
from tests.benchmarks.measure import Row, cpu_seconds, interleaved, ratios, seconds, spread

WANTED = {"medcam": "at most 1.05", "nine methods": "at most 1.3", "optimised": "below 1"}
WHAT = {
    "medcam": "Grad-CAM of one class",
    "nine methods": "nine methods at one layer, five classes",
    "optimised": "Grad-CAM of one class with `optimise=True`",
}


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """Both networks, planes and volumes."""
    shapes = (QUICK if quick else INPUTS).values()
    return [row for network in NETWORKS for shape in shapes for row in compare(network, shape, rounds)]


def compare(network: Network, shape: tuple[int, ...], rounds: int) -> list[Row]:
    """Our sides against the forward pass, the peers beside."""
    x = of_shape(shape)
    sides = available(network, len(shape) - 2)
    first = {}
    for name, side in sides.items():
        begun = time.perf_counter()
        side(x)
        first[name] = time.perf_counter() - begun
    costs = interleaved({name: lambda side=side: side(x) for name, side in sides.items()}, rounds)  # type: ignore[misc]
    wall = {name: seconds(each) for name, each in costs.items()}
    in_forwards = {name: spread(ratios(each, wall["forward"])) for name, each in wall.items()}
    peers = ", ".join(f"{name} {value}" for name, value in in_forwards.items() if name not in (*WANTED, "forward"))
    where = f"{network.name}, {text(shape)}"
    rows = []
    for name in WANTED:
        once = (first[name] - first["forward"]) / min(wall["forward"])
        used = spread(ratios(cpu_seconds(costs[name]), cpu_seconds(costs["forward"])))
        details = f"processor time {used}; forward {spread(wall['forward'], 3)} s; the first call takes {once:.1f} more"
        details += f"; {peers}" if name == "medcam" else ""
        details += f"; {_said(sides[name](x))}" if name == "optimised" else ""
        rows.append(Row(f"{WHAT[name]}, {where}, in forwards", in_forwards[name], WANTED[name], details))
    return rows


def _said(explained: object) -> str:
    """What it says about the copy it explained."""
    return next(note for note in explained.notes if "optimised" in note)  # type: ignore[attr-defined]
