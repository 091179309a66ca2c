"""Bags in a training step: some images of each, drawn anew every epoch, and one answer for each bag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from medcam.data.bags import Bags
from medcam.models._attention import AT_ONCE, Attending
from medcam.training.balance import Batches

Key = tuple[int, int]
"""Which bag, in which epoch."""


class Drawn(Dataset[dict[str, Any]]):
    """At most so many images of a bag; which ones depends on seed, epoch and bag alone, so that a run can go on."""

    def __init__(self, bags: Bags, most: int, seed: int) -> None:
        self._bags, self._most, self._seed = bags, most, seed

    def __getitem__(self, key: Key) -> dict[str, Any]:
        index, epoch = key
        return self._bags.drawn(index, self._most, (self._seed, epoch))


class Draws(Batches):
    """The same batches, of bags as `Drawn` is asked for them."""

    def __iter__(self) -> Iterator[list[Key]]:  # type: ignore[override]
        for batch in super().__iter__():
            yield [(index, self._epoch) for index in batch]


def answer(network: nn.Module, images: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a network says about a batch of `data.bags.collate`.

    Args:
        network: of images; or one that attends, for bags.
        images: of the batch, as they are to be seen.
        batch: with the "size" of each bag, if they are bags.

    Returns:
        torch.Tensor: logits (B, K), one row for each image or bag.

    Raises:
        ValueError: bags for a network that takes single images.
    """
    if "size" not in batch:
        logits: torch.Tensor = network(images)
        return logits
    halves = Attending.of(network)
    if halves is None:
        raise ValueError(f"{type(network).__name__} takes single images, not bags")
    return halves.look(images, batch["size"].tolist(), None if network.training else AT_ONCE).output
