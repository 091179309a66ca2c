"""Bags keep their images together, and a batch of them keeps nothing else."""

import numpy as np
import pytest
import torch

from medcam.data.bags import Bags, collate
from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.errors import UsageError

BINARY = Labelling.binary("tumour", ["1"], ["0"])
EXAMS = ["b", "a", "b", "c", "a", "b"]
PATIENTS = ["p", "q", "p", "q", "q", "p"]


def images(targets: list[list[float]], labelling: Labelling = BINARY, exams: list[str] | None = None) -> Images:
    """Image i is all i."""
    values = np.arange(6.0)[:, None, None, None] * np.ones((6, 1, 2, 2))
    return Images.of(values, targets, PATIENTS, labelling, exams or EXAMS)


def test_an_exam_is_a_bag_that_has_what_one_of_its_images_has() -> None:
    bags = Bags(images([[0], [0], [1], [0], [0], [0]]), "exam")
    assert (bags.exams, bags.patients) == (["b", "a", "c"], ["p", "q", "q"])
    assert bags.targets.tolist() == [[1], [0], [0]]
    assert [bags[i]["image"][:, 0, 0, 0].tolist() for i in range(3)] == [[0, 2, 5], [1, 4], [3]]
    assert len(Bags(images([[0]] * 6), "file")) == 6  # arrays are files of their own


def test_a_batch_has_all_images_and_no_other() -> None:
    bags = Bags(images([[0], [0], [1], [0], [0], [0]]), "exam")
    batch = collate([bags[2], bags[0]])
    assert batch["image"].shape == (4, 1, 2, 2)
    assert batch["image"][:, 0, 0, 0].tolist() == [3, 0, 2, 5]
    assert (batch["size"].tolist(), batch["index"].tolist()) == ([1, 3], [2, 0])
    assert batch["target"].tolist() == [[0], [1]]


def test_a_draw_is_decided_by_its_seed_and_every_image_has_its_turn() -> None:
    bags = Bags(images([[0]] * 6), "exam")
    draws = [bags.drawn(0, 2, (7, epoch))["image"][:, 0, 0, 0].tolist() for epoch in range(20)]
    assert draws == [bags.drawn(0, 2, (7, epoch))["image"][:, 0, 0, 0].tolist() for epoch in range(20)]
    assert {tuple(draw) for draw in draws} == {(0, 2), (0, 5), (2, 5)}
    torch.testing.assert_close(bags.drawn(0, 3, (7, 0))["image"], bags[0]["image"])


def test_an_exam_of_two_patients_and_a_bag_of_two_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="exam a is of 2 patients") as refused:
        Bags(images([[0]] * 6, exams=["a", "a", "b", "b", "b", "b"]), "exam")
    assert refused.value.code == "mixed-patients"
    classes = Labelling.classes({"benign": ["0"], "tumour": ["1"]})
    with pytest.raises(UsageError, match="exam b are of several classes") as refused:
        Bags(images([[1, 0], [1, 0], [0, 1], [1, 0], [1, 0], [1, 0]], classes), "exam")
    assert refused.value.code == "mixed-labels"
