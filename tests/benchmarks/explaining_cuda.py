"""What an explanation costs on a graphics card: time and peak memory of the card, in forward passes.

As in `explaining`, with inputs that are on the card and maps that stay there. Each side runs five times between two
looks at the clock, and the card has finished at each. In front of that each side runs three times, so that the card's
libraries have chosen their kernels. Memory is what the card's allocator held at most, above the model and its input.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from tests.benchmarks.explaining import WANTED, WHAT
from tests.benchmarks.explaining_sides import INPUTS, NETWORKS, QUICK, Network, Side, available, of_shape, text
from tests.benchmarks.measure import Row, interleaved, ratios, seconds, spread

CALLS = 5


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """Both networks, planes and volumes; none where there is no card."""
    if not torch.cuda.is_available():
        return []
    shapes = (QUICK if quick else INPUTS).values()
    networks = [replace(network, device="cuda") for network in NETWORKS]
    return [row for network in networks for shape in shapes for row in compare(network, shape, rounds)]


def compare(network: Network, shape: tuple[int, ...], rounds: int) -> list[Row]:
    """Our sides against the forward pass, the peers beside."""
    x = of_shape(shape).to(network.device)
    sides = available(network, len(shape) - 2)
    for side in sides.values():
        several(side, x, 3)()
    costs = interleaved({name: several(side, x, CALLS) for name, side in sides.items()}, rounds)
    wall = {name: seconds(each) for name, each in costs.items()}
    time = {name: spread(ratios(each, wall["forward"])) for name, each in wall.items()}
    mib = {name: peak_mib(side, x) for name, side in sides.items()}
    where = f"{network.name}, {text(shape)}"
    peers = [name for name in sides if name not in (*WANTED, "forward")]
    rows = []
    for name, wanted in WANTED.items():
        once = [each / CALLS for each in wall["forward"]]
        beside = "; ".join(f"{peer} {time[peer]}" for peer in peers) if name == "medcam" else ""
        details = f"forward {spread([1000 * each for each in once], 1)} ms; {beside}".rstrip("; ")
        rows.append(Row(f"{WHAT[name]}, {where}, in forwards", time[name], wanted, details))
    beside = ", ".join(f"{name} {mib[name]:,.0f}" for name in ("forward", *WANTED, *peers))
    ratio = f"{mib['medcam'] / mib['forward']:.2f}"
    return [*rows, Row(f"peak memory of {WHAT['medcam']}, {where}", ratio, "at most 1.2", f"MiB: {beside}")]


def several(side: Side, x: torch.Tensor, calls: int) -> Callable[[], None]:
    """A side that many times, after which the card has nothing left to do."""

    def ask() -> None:
        for _ in range(calls):
            side(x)
        torch.cuda.synchronize()

    return ask


def peak_mib(side: Side, x: torch.Tensor) -> float:
    """What one call holds on the card at once, above what is there already."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = side(x)
    torch.cuda.synchronize()
    del kept
    return (torch.cuda.max_memory_allocated() - before) / (1 << 20)
