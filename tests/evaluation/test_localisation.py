import numpy as np

from medcam.evaluation.localisation import centre, hit, peak
from medcam.grid import Grid

IMAGE = Grid.plane((64, 64), (0.5, 0.5), mm_known=True)
CELLS = IMAGE.rescaled((8, 8), 8, 0)  # cell i is centred on pixel 8 * i


def lesion(row: int, column: int) -> np.ndarray:
    mask = np.zeros(IMAGE.shape, bool)
    mask[row, column] = True
    return mask


def test_a_cell_hits_what_lies_within_half_a_cell_of_its_centre() -> None:
    assert hit((2, 3), CELLS, lesion(16, 24), IMAGE)
    assert hit((2, 3), CELLS, lesion(20, 28), IMAGE)  # exactly half a cell away, in both directions
    assert hit((2, 3), CELLS, lesion(12, 20), IMAGE)
    assert not hit((2, 3), CELLS, lesion(21, 24), IMAGE)
    assert not hit((2, 3), CELLS, lesion(16, 19), IMAGE)


def test_near_in_one_axis_is_not_near() -> None:
    two = lesion(16, 60) | lesion(60, 24)
    assert not hit((2, 3), CELLS, two, IMAGE)


def test_the_frame_counts_too() -> None:
    cine = Grid.plane((10, 64, 64), frame_times_s=tuple(range(10)))
    cells = cine.rescaled((5, 8, 8), (2, 8, 8), (0, 0, 0))
    mask = np.zeros(cine.shape, bool)
    mask[7, 16, 24] = True
    assert [hit((t, 2, 3), cells, mask, cine) for t in range(5)] == [False, False, False, True, True]


def test_peak_and_centre() -> None:
    values = np.zeros((8, 8))
    values[5, 6] = 2
    assert peak(values) == (5, 6)
    assert centre(CELLS, IMAGE) == (4, 4)  # pixel 31.5 is 3.94 cells
