"""Run the benchmarks, print their table, and write it to its page in docs/results if asked to."""

import argparse
import importlib
import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported; see the page

from tests.benchmarks.pages import NAMES, PAGES, as_table, section


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of {', '.join(NAMES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images")
    parser.add_argument("--write", action="store_true", help="write their sections of the pages in docs/results")
    chosen = parser.parse_args()
    names = chosen.names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    quick = " --quick" if chosen.quick else ""
    sections = {}
    for name in names:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="medcam-bench-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MONAI says about its own use of torch
            rows = importlib.import_module(f"tests.benchmarks.{name}").run(Path(folder), chosen.rounds, chosen.quick)
            if not rows:
                print(f"{name}: nothing to measure on this machine", flush=True)
                continue
            print(as_table(rows), flush=True)
            command = f"python -m tests.benchmarks {name} --rounds {chosen.rounds}{quick} --write"
            sections[name] = section(name, rows, command, load)
    for page in PAGES if chosen.write else ():
        if set(page.names) & set(sections):
            page.write(sections)


if __name__ == "__main__":
    main()
