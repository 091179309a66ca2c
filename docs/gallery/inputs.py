"""Methods that look at the gradient of the input: finest grain, and how much of it is noise. A simulated chest X-ray.

python -m docs.gallery.inputs FOLDER
"""

import sys
from pathlib import Path

from docs.gallery.sheet import family_sheet, phantom

SEED = 63
"""Of the phantom."""


def main(folder: Path) -> list[Path]:
    """Write the sheet."""
    path = folder / "inputs_chest_xray.png"
    family_sheet(("input gradient",), phantom("chest_xray_opacity", SEED), path)
    return [path]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
