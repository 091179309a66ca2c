"""`python -m sample_data OUT [--seed N]` writes the archive."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sample_data.archive import write_archive


def main() -> int:
    """Write the archive that the command line asks for; 0, or 2 if the folder has content."""
    parser = argparse.ArgumentParser(prog="python -m sample_data", description="Write an archive of phantoms as DICOM.")
    parser.add_argument("out", type=Path, help="new or empty folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        truth = write_archive(arguments.out, arguments.seed, progress=print)
    except FileExistsError as error:
        print(error, file=sys.stderr)
        return 2
    patients = {study["patient_id"] for study in truth["studies"]}
    print(f"{len(truth['studies'])} studies of {len(patients)} patients in {arguments.out / truth['root']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
