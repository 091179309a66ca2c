"""The pages under docs/results that the benchmarks write: one section for each benchmark, made when that was last run."""

import datetime
import importlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from tests.benchmarks.measure import Row

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results"


@dataclass(frozen=True)
class Page:
    """One page: its title, its benchmarks in order, and what is to be known of all of them."""

    file: str
    title: str
    names: tuple[str, ...]
    remark: str

    def write(self, sections: Mapping[str, str], folder: Path = FOLDER) -> None:
        """Put new sections in the place of old ones; those of benchmarks that did not run stay."""
        path = folder / self.file
        kept = _sections(path.read_text()) if path.exists() else {}
        parts = [f"# {self.title}", self.remark]
        parts += [text for name in self.names if (text := sections.get(name) or kept.get(name))]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n")


PAGES = (
    Page(
        "speed.md",
        "Speed and memory",
        ("screening", "loop", "memory", "index", "dropout", "curriculum"),
        """Ratios are taken round by round, and the sides take turns within a round: other work on the machine slows all of them, so
ratios count more than seconds. On a busy machine the time of two cores is shared, and the ratio comes near that of
processor times; on an idle one it is lower, because decoding and storing go on beside the network. Threads of the
network that wait do so without spinning (`OMP_WAIT_POLICY=passive`); with spinning, the bare side takes up to three times
its processor time on a busy machine, which would flatter the screening. The images are enlarged phantoms with noise, not
compressed, each with its own identifiers; the weights are random, which changes nothing about the work.""",
    ),
    Page(
        "explainers.md",
        "What explanations cost",
        ("explaining", "explaining_memory", "explaining_costs", "explaining_cuda", "scorecam", "scorecam_wide"),
        """Ratios are taken round by round, and the sides take turns within a round: other work on the machine slows all of them, so
ratios count more than seconds. Weights are random and images are noise where nothing else is said, which changes
nothing about the work. What the methods are, and when to take which, is told in [methods.md](../explainers/methods.md).""",
    ),
)
NAMES = tuple(name for page in PAGES for name in page.names)


def section(name: str, rows: Sequence[Row], command: str, load: float) -> str:
    """A benchmark's table, how it was measured, on what, when, and beside how much other work."""
    about = " ".join((importlib.import_module(f"tests.benchmarks.{name}").__doc__ or "").split())
    threads = os.environ.get("OMP_NUM_THREADS", f"{os.cpu_count()}")
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "without an accelerator"
    machine = f"{os.cpu_count()} cores, {card}, {threads} thread(s), load average {load:.1f} at the start"
    libraries = ", ".join(f"{each} {version(each)}" for each in ("torch", "monai", "captum", "pydicom", "numpy"))
    return f"""## {name}

{about}

{as_table(rows)}

Made by `{command}` on {datetime.datetime.now(datetime.UTC).date()}: {machine}, {platform.system()},
Python {platform.python_version()}, {libraries}{_peers()}."""


def as_table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| measured | median (least to most) | wanted | details |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {r.measured} | {r.value} | {r.wanted} | {r.details} |" for r in rows])


def _sections(text: str) -> dict[str, str]:
    """By heading."""
    parts = text.split("\n## ")[1:]
    return {part.split("\n", 1)[0]: f"## {part.strip()}" for part in parts}


def _peers() -> str:
    from tests.explainers.peers.installed import DISTRIBUTIONS, peer

    return "".join(f", {name} {version(name)}" for module, name in DISTRIBUTIONS.items() if peer(module))
