"""Frames and patches as axes of one image."""

import numpy as np
import torch

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.wholes import Wholes


def test_each_whole_has_its_own_parts_in_order() -> None:
    values = np.arange(5.0)[:, None, None, None] * np.ones((5, 2, 3, 3))
    labelling = Labelling.binary("tumour", ["1"], ["0"])
    images = Images.of(
        values, [[0], [1], [0], [0], [0]], ["p", "q", "p", "q", "p"], labelling, ["a", "b", "a", "b", "a"]
    )
    wholes = Wholes(images, "exam")
    assert [tuple(wholes[i]["image"].shape) for i in range(2)] == [(2, 3, 3, 3), (2, 2, 3, 3)]
    torch.testing.assert_close(wholes[0]["image"][1, :, 0, 0], torch.tensor([0.0, 2.0, 4.0]))
    assert (wholes.targets.tolist(), wholes.patients, wholes.parts.tolist()) == ([[0], [1]], ["p", "q"], [0, 0])
    second = wholes.subset([1])
    assert (len(second), second.exams) == (1, ["b"])
    torch.testing.assert_close(second[0]["image"], wholes[1]["image"])
