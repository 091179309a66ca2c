"""Training pictures from phantoms: drawn in two processes, prepared as in screening, kept small in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.data.phantoms import generator, sample
from medcam.training._recipe import Recipe

SLIDE_TILE = 256


@dataclass(frozen=True)
class Pictures:
    """Rows that a network learns from: whole images and volumes, the frames of cines, the tiles of slides."""

    images: npt.NDArray[np.uint8]
    """(N, C, *space): [0, 1] in 255 steps."""
    masks: npt.NDArray[np.bool_]
    """(N, *space)."""
    patients: npt.NDArray[np.int64]
    """(N,) which phantom each row shows: sick and healthy of one seed are two."""


def draw(recipe: Recipe, seeds: Sequence[int], slides: Sequence[int] = (), workers: int = 2) -> Pictures:
    """Pictures of every seed, sick, and of the first ones healthy too.

    Args:
        seeds: of phantoms.
        slides: seeds of whole slides, each sick and healthy.
        workers: processes; 0 draws in this one.
    """
    jobs = [(seed, False, False) for seed in seeds[: recipe.healthy]] + [(seed, True, False) for seed in seeds]
    jobs += [(seed, sick, True) for seed in slides for sick in (False, True)]
    if workers:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_alone) as pool:
            rows = list(pool.map(partial(_rows, recipe), jobs, chunksize=4))
    else:
        rows = [_rows(recipe, job) for job in jobs]
    patients = np.repeat(np.arange(len(jobs)), [len(masks) for _, masks in rows])
    return Pictures(np.concatenate([i for i, _ in rows]), np.concatenate([m for _, m in rows]), patients)


def _alone() -> None:
    """Each process draws on one processor."""
    import torch

    torch.set_num_threads(1)


def _rows(recipe: Recipe, job: tuple[int, bool, bool]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Images (n, C, *space) and masks (n, *space) of one phantom."""
    seed, sick, whole_slide = job
    module = generator(recipe.pipeline)
    phantoms = _tiles(module.slide(seed, sick)) if whole_slide else [module.phantom(seed, sick)]
    images, masks = [], []
    for phantom in phantoms:
        made = sample(phantom, recipe.transform, dict(recipe.options))
        tensor = (made.prepared.tensor.numpy() * 255).round().astype(np.uint8)  # (1, C, *space)
        mask = made.mask[None]
        if recipe.modality == "US":  # frames become rows
            tensor, mask = tensor[0].swapaxes(0, 1), mask[0]
        images.append(tensor)
        masks.append(mask)
    return np.concatenate(images), np.concatenate(masks)


def _tiles(slide: Any) -> Iterator[Any]:
    """The tiles of a slide that show tissue, as patches."""
    for row in range(0, slide.mask.shape[0], SLIDE_TILE):
        for column in range(0, slide.mask.shape[1], SLIDE_TILE):
            part = (slice(row, row + SLIDE_TILE), slice(column, column + SLIDE_TILE))
            mask = slide.mask[part]
            sick = bool(mask.any())
            if slide.pixels[part].std() > 8:
                yield replace(
                    slide, pixels=slide.pixels[part], mask=mask, label=int(sick), lesions=slide.lesions[: int(sick)]
                )
