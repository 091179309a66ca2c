"""Time by rounds: the sides of a comparison take turns, so that a busy machine slows all of them alike."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the results page."""

    measured: str
    value: str
    """Median (least to most) over the rounds."""
    wanted: str
    details: str = ""


@dataclass(frozen=True)
class Cost:
    """What one side took in one round."""

    seconds: float
    cpu_seconds: float
    """Of all cores together, subprocesses that have ended included."""


def interleaved(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Cost]]:
    """The cost of each side in each round."""
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            begun, used = time.perf_counter(), _cpu_seconds()
            side()
            costs[name].append(Cost(time.perf_counter() - begun, _cpu_seconds() - used))
    return costs


def seconds(costs: Sequence[Cost]) -> list[float]:
    """Round by round."""
    return [cost.seconds for cost in costs]


def cpu_seconds(costs: Sequence[Cost]) -> list[float]:
    """Round by round."""
    return [cost.cpu_seconds for cost in costs]


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round; what was too short for the clock counts as its smallest step."""
    return [a / max(b, 1e-2) for a, b in zip(over, under, strict=True)]


def spread(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """Median (least to most)."""
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle}{unit} ({low} to {high})"


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
