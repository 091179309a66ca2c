"""Prepared images with their targets and patients, as a MONAI dataset that shares its pixels."""

import math
import os
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from monai.data import Dataset

from medcam.data._pack import VALUE, Source, mapped
from medcam.data.labelling import Labelling


class Store:
    """(values,) float16, in memory or mapped from a file.

    In memory it goes to other processes as shared memory (torch.multiprocessing), a mapped file goes by its name.

    Args:
        flat: the values.
        file: where they are mapped from.
        passing: a folder that is deleted when nobody in this process needs the file any more.
    """

    def __init__(self, flat: torch.Tensor, file: Path | None = None, passing: Path | None = None) -> None:
        self.flat, self.file = flat, file
        if passing is not None:
            weakref.finalize(self, _remove, passing, os.getpid())

    def take(self, start: int, shape: tuple[int, ...]) -> torch.Tensor:
        """A copy of one example as float32."""
        return self.flat[start : start + math.prod(shape)].to(torch.float32).reshape(shape)

    def __getstate__(self) -> dict[str, Any]:
        return {"flat": self.flat} if self.file is None else {"file": self.file, "values": len(self.flat)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.file = state.get("file")
        self.flat = state["flat"] if self.file is None else mapped(self.file, state["values"])


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not when a forked worker lets go of its copy
        shutil.rmtree(folder, ignore_errors=True)


class Images(Dataset):  # type: ignore[misc]  # MONAI's types are not followed
    """Examples for a `DataLoader`: `images[i]` is {"image": (C, *space) float32, "target": (K,) float32, "index": i}.

    What the attributes list is in the order of i. Setting `transform` to a MONAI Compose changes each such dictionary
    as it is taken.
    """

    def __init__(
        self,
        store: Store,
        starts: npt.NDArray[np.int64],
        shape: tuple[int, ...],
        labelling: Labelling,
        targets: npt.NDArray[np.float32],
        patients: Sequence[str],
        exams: Sequence[str],
        rows: npt.NDArray[np.intp],
        parts: npt.NDArray[np.intp],
        sources: Sequence[Source] = (),
    ) -> None:
        super().__init__(range(len(targets)))
        self._store, self._starts = store, starts
        self.shape = shape
        """(C, *space)"""
        self.labelling = labelling
        self.targets = targets
        """(N, K)"""
        self.patients = list(patients)
        self.exams = list(exams)
        self.rows = rows
        """(N,) index into the manifest's rows."""
        self.parts = parts
        """(N,) number of the frame or tile in its row; 0 for a whole image."""
        self.sources = list(sources)
        """Size and brightness of the stored pixels; empty where there were no files."""

    @classmethod
    def of(
        cls,
        images: npt.ArrayLike,
        targets: npt.ArrayLike,
        patients: Sequence[str],
        labelling: Labelling,
        exams: Sequence[str] | None = None,
    ) -> Self:
        """Examples from arrays (N, C, *space) and (N, K) instead of files; each is an exam of its own unless said."""
        array, table = np.asarray(images, VALUE), np.asarray(targets, np.float32)
        order = np.arange(len(array))
        names = [str(number) for number in order] if exams is None else exams
        if not len(array) == len(table) == len(patients) == len(names):
            raise ValueError(f"{len(array)} images, {len(table)} targets, {len(patients)} patients, {len(names)} exams")
        starts = order * math.prod(array.shape[1:])
        store = Store(torch.from_numpy(np.ascontiguousarray(array).reshape(-1)))
        return cls(store, starts, array.shape[1:], labelling, table, patients, names, order, np.zeros_like(order))

    @property
    def in_memory(self) -> bool:
        """Whether the pixels are in memory rather than in a mapped file."""
        return self._store.file is None

    def subset(self, indices: npt.ArrayLike) -> Self:
        """The examples at these places, in this order, with the same pixels behind them."""
        at = np.arange(len(self))[np.asarray(indices, dtype=np.intp)]
        part = type(self)(
            self._store,
            self._starts[at],
            self.shape,
            self.labelling,
            self.targets[at],
            [self.patients[i] for i in at.tolist()],
            [self.exams[i] for i in at.tolist()],
            self.rows[at],
            self.parts[at],
            [self.sources[i] for i in at.tolist()] if self.sources else (),
        )
        part.transform = self.transform
        return part

    def pixels(self, index: int) -> torch.Tensor:
        """A copy of one image (C, *space) float32, before `transform`."""
        return self._store.take(int(self._starts[index]), self.shape)

    def _transform(self, index: int) -> Any:
        at = range(len(self))[index]  # as in a list: from the end if negative, IndexError beyond
        target = torch.from_numpy(self.targets[at].copy())
        return self.transform({"image": self.pixels(at), "target": target, "index": at})
