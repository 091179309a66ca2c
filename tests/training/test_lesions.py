import numpy as np
import torch

from medcam.training._fit import _balanced, _present
from medcam.training._lesions import Lesions


def masks() -> np.ndarray:
    """Row 0: a lesion of 1000 voxels and one of 2, joined at a corner; row 1: healthy; row 2: 8 voxels."""
    made = np.zeros((3, 20, 20, 20), bool)
    made[0, :10, :10, :10] = True
    made[0, 15, 15, 15] = made[0, 16, 16, 16] = True
    made[2, 4:6, 4:6, 4:6] = True
    return made


def test_a_lesion_of_two_voxels_is_visited_as_often_as_one_of_a_thousand() -> None:
    lesions, random = Lesions(masks()), torch.Generator().manual_seed(0)
    assert [[len(voxels) for voxels in row] for row in lesions.voxels] == [[1000, 2], [], [8]]
    picks = np.array([lesions.somewhere(0, random) for _ in range(400)])
    assert masks()[0][tuple(picks.T)].all()
    small = (picks >= 15).all(1)
    assert abs(small.mean() - 0.5) < 0.1  # four standard errors
    assert len(np.unique(picks[~small], axis=0)) > 150  # anywhere in the large one
    assert lesions.somewhere(1, random) is None


def test_rows_are_drawn_by_the_power_of_their_largest_lesion() -> None:
    lesions = Lesions(masks())
    weights = lesions.weights(torch.tensor([0, 2]), 1 / 3)
    torch.testing.assert_close(weights, torch.tensor([0.1, 0.5], dtype=torch.float64))
    order = np.array(_balanced(lesions, 1200, 1 / 3, torch.Generator().manual_seed(0)))
    assert (order == 1).sum() == 600  # half are healthy all the same
    assert abs((order == 2).sum() - 500) < 37  # four standard errors of 600 draws with 5/6
    plain = np.array(_balanced(lesions, 1200, 0.0, torch.Generator().manual_seed(0)))
    assert [(plain == row).sum() for row in range(3)] == [300, 600, 300]


def test_a_lesion_of_one_slice_survives_a_move_by_half_a_slice() -> None:
    volume = torch.zeros(3, 1, 8, 8, 8)
    volume[0, 0, 3:5, 2:4, 2:4] = 0.5  # four voxels of a slice, spread over two
    volume[1, 0, 0, 0, :3] = 0.3  # what is left of one at the border
    assert _present(volume).tolist() == [True, False, False]
    plane = torch.zeros(2, 1, 8, 8)
    plane[0, 0, 2, 2], plane[1, 0, 2:6, 2:6] = 0.9, 0.4
    assert _present(plane).tolist() == [True, False]
