"""Bags: images that share one label, as the frames of a clip or the patches of a slide, however many there are."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, default_collate

from medcam.data.images import Images
from medcam.errors import UsageError

By = Literal["file", "exam"]
"""What makes a bag: a file (its frames), or an exam (its patches, or the tiles of its slides)."""

Row = dict[str, Any]


class Bags(Dataset[Row]):
    """`bags[i]` is {"image": (n, C, *space) float32, "target": (K,), "index": i, "size": n}, n that of the bag.

    What the attributes list is in the order of i. A bag has a label if one of its images has it.

    Args:
        images: that are put into bags; no bag is without an image.
        by: what makes a bag.

    Raises:
        UsageError: "mixed-patients", an exam shows two patients; "mixed-labels", its images are of several classes that
            exclude each other.
    """

    def __init__(self, images: Images, by: By) -> None:
        self.images = images
        self.labelling, self.shape = images.labelling, images.shape
        keys = images.rows.tolist() if by == "file" else images.exams
        members: dict[Any, list[int]] = {}
        for index, key in enumerate(keys):
            members.setdefault(key, []).append(index)
        self.members: list[npt.NDArray[np.intp]] = [np.array(each, np.intp) for each in members.values()]
        """Of each bag, which images are in it."""
        first = [int(each[0]) for each in self.members]
        self.targets = np.stack([images.targets[each].max(axis=0) for each in self.members])
        """(B, K)"""
        self.patients = [images.patients[index] for index in first]
        self.exams = [images.exams[index] for index in first]
        self.rows = images.rows[first]
        """(B,) index into the manifest's rows, of the bag's first image."""
        self._check()

    def _check(self) -> None:
        for index, each in enumerate(self.members):
            exam = self.exams[index]
            people = sorted({self.images.patients[member] for member in each.tolist()})
            if len(people) > 1:
                message = f"The exam {exam} is of {len(people)} patients ({', '.join(people[:3])})"
                raise UsageError("mixed-patients", f"{message}; name exams so that each is of one.")
            if self.labelling.head == "softmax" and self.targets[index].sum() != 1:
                message = f"The images of the exam {exam} are of several classes, but it is one bag with one label"
                raise UsageError("mixed-labels", f"{message}; label whole exams, or train a network of single images.")

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Row:
        return self.taken(index, self.members[index])

    def drawn(self, index: int, most: int, seed: Sequence[int]) -> Row:
        """The same with at most so many images of the bag, in their order; which ones is left to chance."""
        every = self.members[index]
        if len(every) <= most:
            return self.taken(index, every)
        return self.taken(index, np.sort(np.random.default_rng((*seed, index)).choice(every, most, replace=False)))

    def taken(self, index: int, members: npt.NDArray[np.intp]) -> Row:
        """A bag of these of its images only."""
        at = range(len(self))[index]
        image = torch.stack([self.images[int(member)]["image"] for member in members])
        return {"image": image, "target": torch.from_numpy(self.targets[at].copy()), "index": at, "size": len(members)}


def collate(rows: Sequence[Row]) -> Row:
    """A batch of examples: images (B, C, *space); of bags all their images (N, C, *space) in a row, and each "size".

    Bags are not filled up to one size, so that nothing but images goes through a network.
    """
    if "size" not in rows[0]:
        return dict(default_collate(list(rows)))
    rest = default_collate([{name: value for name, value in row.items() if name != "image"} for row in rows])
    return {**rest, "image": torch.cat([row["image"] for row in rows])}
