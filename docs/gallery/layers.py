"""Methods that look at a layer, its activations and its gradients: a simulated chest X-ray and a chest CT.

python -m docs.gallery.layers FOLDER
"""

import sys
from pathlib import Path

from docs.gallery.sheet import family_sheet, phantom

XRAY, CT = 63, 73
"""Seeds of phantoms."""


def main(folder: Path) -> list[Path]:
    """Write the sheets."""
    files = [folder / "layers_chest_xray.png", folder / "layers_chest_ct.png"]
    for path, subject in zip(
        files, (phantom("chest_xray_opacity", XRAY), phantom("chest_ct_nodule", CT, shown=56)), strict=True
    ):
        family_sheet(("gradient", "activation"), subject, path)
    return files


if __name__ == "__main__":
    main(Path(sys.argv[1]))
