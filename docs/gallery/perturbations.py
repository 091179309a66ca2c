"""Methods that hide parts of the image or of a layer and ask the model again. A simulated chest X-ray.

python -m docs.gallery.perturbations FOLDER
"""

import sys
from pathlib import Path

from docs.gallery.sheet import family_sheet, phantom

SEED = 63
"""Of the phantom."""
SETTINGS = {"rise": {"masks": 300, "shows": "slope"}}
"""Half a minute would be well spent on a thousand; the mean score, as the paper shows it, is one colour everywhere."""


def main(folder: Path) -> list[Path]:
    """Write the sheet."""
    path = folder / "perturbations_chest_xray.png"
    family_sheet(("perturbation",), phantom("chest_xray_opacity", SEED), path, SETTINGS)
    return [path]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
