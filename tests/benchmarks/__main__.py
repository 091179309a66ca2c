"""Run the benchmarks, print their table, and write it to docs/results/speed.md if asked to."""

import argparse
import datetime
import importlib
import os
import platform
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.measure import Row

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported; see the page

NAMES = ("screening", "loop", "memory", "index", "dropout", "curriculum")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "speed.md"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    chosen = parser.parse_args()
    names = chosen.names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="medcam-bench-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MONAI says about its own use of torch
            benchmark = importlib.import_module(f"tests.benchmarks.{name}")
            rows += benchmark.run(Path(folder), chosen.rounds, chosen.quick)
    table = as_table(rows)
    print(table)
    if chosen.write:
        command = " ".join(["python -m tests.benchmarks", *chosen.names, f"--rounds {chosen.rounds}"])
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(table, command + (" --quick" if chosen.quick else "")))


def as_table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| measured | median (least to most) | wanted | details |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {r.measured} | {r.value} | {r.wanted} | {r.details} |" for r in rows])


def page(table: str, command: str) -> str:
    """The results page around the table: how it was measured, on what and when."""
    texts = [importlib.import_module(f"tests.benchmarks.{name}").__doc__ or "" for name in NAMES]
    about = "\n".join(f"- **{name}**: {' '.join(text.split())}" for name, text in zip(NAMES, texts, strict=True))
    machine = f"{os.cpu_count()} cores, no GPU used"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai", "pydicom", "numpy"))
    return f"""# Speed and memory

{table}

Made by `{command} --write` on {datetime.datetime.now(datetime.UTC).date()}: {machine}, {platform.system()},
Python {platform.python_version()}, {libraries}.

{about}

Ratios are taken round by round, and the sides take turns within a round: other work on the machine slows all of them, so
ratios count more than seconds. On a busy machine the time of two cores is shared, and the ratio comes near that of
processor times; on an idle one it is lower, because decoding and storing go on beside the network. Threads of the
network that wait do so without spinning (`OMP_WAIT_POLICY=passive`); with spinning, the bare side takes up to three times
its processor time on a busy machine, which would flatter the screening. The images are enlarged phantoms with noise, not
compressed, each with its own identifiers; the weights are random, which changes nothing about the work.
"""


if __name__ == "__main__":
    main()
