"""The training loop of the demonstration models: one label per picture, and the truth of every cell of the map."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from medcam.training._augmentation import augment
from medcam.training._lesions import Lesions
from medcam.training._map_loss import Tap, map_loss
from medcam.training._pictures import Pictures
from medcam.training._recipe import Recipe

SMALLEST = 0.5  # a mask cell above this counts as lesion after the picture was moved
WHOLE_VOLUMES = 4  # in a batch, where otherwise pieces are shown


def fit(network: nn.Module, recipe: Recipe, pictures: Pictures, say: Callable[[str], None], seed: int = 0) -> None:
    """Train `network` (images (B, C, *space) to (B, 1)) in place.

    AdamW with one cycle of the learning rate; binary cross-entropy of the logit plus `map_loss` of the class map. Where
    the recipe crops, the last steps see whole volumes, so that the logit fits their number of cells.
    """
    random = torch.Generator().manual_seed(seed)
    count = min(recipe.per_epoch or len(pictures.images), len(pictures.images)) // 2 * 2
    steps = recipe.epochs * (count // recipe.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.15)
    tap = Tap(network.get_submodule("head.map"))
    lesions = Lesions(pictures.masks)
    network.train()
    began = time.monotonic()
    for epoch in range(recipe.epochs):
        order = _balanced(lesions, count, recipe.small_first, random)
        losses = []
        for first in range(0, len(order) - recipe.batch + 1, recipe.batch):
            whole = recipe.crop is None or schedule.last_epoch >= (1 - recipe.whole) * steps
            rows = order[first : first + (recipe.batch if recipe.crop is None or not whole else WHOLE_VOLUMES)]
            images, masks = _batch(pictures, lesions, rows, None if whole else recipe.crop, random)
            images, masks = augment(images, masks, recipe.flips, random, recipe.moved)
            losses.append(_step(network, tap, images, masks, optimiser))
            schedule.step()
        say(f"epoch {epoch + 1}/{recipe.epochs}: loss {np.mean(losses):.3f}, {time.monotonic() - began:.0f} s")
    if recipe.settle:
        _settle(network, recipe, pictures, lesions, tap, torch.Generator().manual_seed(seed + 1))
        say(f"settled in {recipe.settle} steps, {time.monotonic() - began:.0f} s")
    network.eval()


def _settle(
    network: nn.Module, recipe: Recipe, pictures: Pictures, lesions: Lesions, tap: Tap, random: torch.Generator
) -> None:
    """Last steps of the head and of the last stage's normalisations, the rest of the network as in use.

    Whole pictures as patients come and healthy cells at full weight, so that a healthy map ends below zero: before,
    small lesions came too often and cost too much for that. All weights would learn the training lesions by heart.
    """
    last = network.get_submodule("stages")[-1]  # type: ignore[index]
    norms = [module for module in last.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
    network.eval().requires_grad_(False)
    for module in (network.get_submodule("head"), *norms):
        module.requires_grad_(True)
    optimiser = torch.optim.AdamW((p for p in network.parameters() if p.requires_grad), recipe.rate / 3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate / 3, total_steps=recipe.settle)
    order = _balanced(lesions, recipe.settle * WHOLE_VOLUMES, 0.0, random)
    for first in range(0, len(order), WHOLE_VOLUMES):
        images, masks = _batch(pictures, lesions, order[first : first + WHOLE_VOLUMES], None, random)
        images, masks = augment(images, masks, recipe.flips, random, recipe.moved)
        _step(network, tap, images, masks, optimiser, false_alarm=1.0)
        schedule.step()
    network.requires_grad_(True)


def _step(
    network: nn.Module,
    tap: Tap,
    images: torch.Tensor,
    masks: torch.Tensor,
    optimiser: torch.optim.Optimizer,
    false_alarm: float = 0.25,
) -> float:
    """One step downhill; its loss."""
    with torch.autocast("cpu", torch.bfloat16):  # half the time on processors that know it
        logits = network(images)[:, 0]
    loss = functional.binary_cross_entropy_with_logits(logits.float(), _present(masks).float())
    loss = loss + map_loss(tap.output.float(), masks, false_alarm)
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return loss.item()


def _present(masks: torch.Tensor) -> torch.Tensor:
    """(B,) whether a lesion is still in the moved picture; masks (B, 1, *space) in [0, 1].

    In a volume one voxel's worth in all: moving spreads a lesion of a single slice over two.
    """
    return masks.flatten(1).sum(1) > 1 if masks.ndim == 5 else masks.flatten(1).amax(1) > SMALLEST


def _balanced(lesions: Lesions, count: int, small_first: float, random: torch.Generator) -> list[int]:
    """`count` rows in random order, as many with a lesion as without; of the rarer kind some come twice.

    With `small_first`, rows with a lesion are drawn by `Lesions.weights`, any number of times.
    """
    has_lesion = torch.tensor([bool(own) for own in lesions.voxels])
    sick, healthy = torch.nonzero(has_lesion)[:, 0], torch.nonzero(~has_lesion)[:, 0]
    chosen = []
    for rows in (sick, healthy):
        if rows is sick and small_first:
            weights = lesions.weights(sick, small_first)
            chosen.append(sick[torch.multinomial(weights, count // 2, replacement=True, generator=random)])
            continue
        rounds = [rows[torch.randperm(len(rows), generator=random)] for _ in range(-(-count // (2 * len(rows))))]
        chosen.append(torch.cat(rounds)[: count // 2])
    both = torch.cat(chosen)
    order: list[int] = both[torch.randperm(len(both), generator=random)].tolist()
    return order


def _batch(
    pictures: Pictures, lesions: Lesions, rows: list[int], crop: tuple[int, ...] | None, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, C, *space) in [0, 1] and masks (B, 1, *space), cut to `crop` around a place where lesions are."""
    images, masks = [], []
    for row in rows:
        part: tuple[slice, ...] = ()
        mask = pictures.masks[row]
        if crop is not None:
            pick = _somewhere(lesions, mask.shape, row, random)
            offset = [int(torch.randint(size, (1,), generator=random)) for size in crop]
            limits = [full - size for full, size in zip(mask.shape, crop, strict=True)]
            start = [int(np.clip(p - o, 0, m)) for p, o, m in zip(pick, offset, limits, strict=True)]
            part = tuple(slice(s, s + size) for s, size in zip(start, crop, strict=True))
        images.append(pictures.images[row][(slice(None), *part)])
        masks.append(mask[part][None])
    return torch.from_numpy(np.stack(images)).float() / 255, torch.from_numpy(np.stack(masks)).float()


def _somewhere(lesions: Lesions, shape: tuple[int, ...], row: int, random: torch.Generator) -> npt.NDArray[np.int64]:
    """A voxel of one of the row's lesions, of another patient's (so in a lung, whatever is there), or any at all."""
    if torch.rand(1, generator=random) < 0.15:
        return np.array([int(torch.randint(size, (1,), generator=random)) for size in shape])
    while True:
        voxel = lesions.somewhere(row, random)
        if voxel is not None and torch.rand(1, generator=random) < 0.7:
            return voxel
        row = int(torch.randint(len(lesions.voxels), (1,), generator=random))
