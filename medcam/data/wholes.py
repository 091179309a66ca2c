"""Cines of any length, or the patches of an exam, as one image each: its frames or patches are an axis of it."""

from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from medcam.data.bags import Bags, By
from medcam.data.images import Images


class Wholes(Images):
    """`wholes[i]` is {"image": (C, N, H, W) float32, "target": (K,), "index": i}; N may be another for each.

    Args:
        images: frames, patches or tiles.
        by: what makes one.

    Raises:
        UsageError: as `Bags`.
    """

    def __init__(self, images: Images, by: By) -> None:
        bags = Bags(images, by)
        first = np.array([each[0] for each in bags.members], np.intp)
        super().__init__(
            images._store,
            images._starts[first],
            images.shape,
            images.labelling,
            bags.targets,
            bags.patients,
            bags.exams,
            bags.rows,
            np.zeros_like(first),
            [images.sources[i] for i in first.tolist()] if images.sources else (),
        )
        self.by = by
        self._bags = bags

    def pixels(self, index: int) -> torch.Tensor:
        """(C, N, H, W) float32, before `transform`."""
        members = self._bags.members[index].tolist()
        return torch.stack([self._bags.images.pixels(member) for member in members], dim=1)

    def subset(self, indices: npt.ArrayLike) -> Self:
        """Those at these places, in this order."""
        at = np.arange(len(self))[np.asarray(indices, dtype=np.intp)]
        part = type(self)(self._bags.images.subset(np.concatenate([self._bags.members[i] for i in at])), self.by)
        part.transform = self.transform
        return part
