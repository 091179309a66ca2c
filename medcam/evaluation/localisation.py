"""Does the heatmap's peak lie in the lesion?"""

import numpy as np
import numpy.typing as npt

from medcam.grid import Grid


def peak(evidence: npt.NDArray[np.floating]) -> tuple[int, ...]:
    """Index of the strongest evidence; the first of equals."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(evidence)), evidence.shape))


def centre(cells: Grid, image: Grid) -> tuple[int, ...]:
    """The cell nearest to the middle of the image: where a map that knows nothing would point."""
    middle = image.position([(n - 1) / 2 for n in image.shape])
    return tuple(int(np.clip(round(i), 0, n - 1)) for i, n in zip(cells.index(middle), cells.shape, strict=True))


def hit(cell: tuple[int, ...], cells: Grid, mask: npt.NDArray[np.bool_], source: Grid) -> bool:
    """Whether a cell's centre lies in the lesion dilated by half a cell: whether the cell touches the lesion.

    Args:
        cell: index into `cells`, e.g. from `peak`.
        cells: the evidence's grid.
        mask: (*source.shape) lesion.
        source: the image's grid.
    """
    lesion = cells.index(source.position(np.argwhere(mask)))  # (N, axes) in cells, fractions kept
    return bool((np.abs(lesion - np.array(cell)) <= 0.5).all(axis=1).any())
