"""Networks of single frames, trained by folds and asked about every frame of the cines that they did not learn from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medcam.data.images import Images
from medcam.data.splits import k_fold
from medcam.evaluation.table import Scored, Values
from medcam.models._network import build
from medcam.models._presets import preset
from medcam.progress import Progress
from medcam.training._augmentation import augment_images
from medcam.training.settings import Settings
from medcam.training.trainer import fit

DROPOUT = 0.5
"""Before the last layer."""
PASSES = 10
BATCH = 32
UPSIDE_DOWN = 0
"""Axis of the rows: the number of its mirroring among `Settings.flips`."""


@dataclass(frozen=True)
class Folds:
    """Every frame once, as the network saw it that had not learned from its group."""

    networks: tuple[nn.Module, ...]
    scored: Scored
    dropout_sd: Values
    """(N,): of the predicted class's probability over passes with dropout; NaN if nobody asked."""
    augmentation_sd: Values
    """(N,): the same over copies of the frame that are changed as in the training."""
    upright_sd: Values
    """(N,): the same without those that are mirrored upside down."""


def train_frames(
    images: Images, model: str, folds: int, settings: Settings, work: Path, progress: Progress, doubt: bool = True
) -> Folds:
    """Cross-validate a network of single frames by `images.patients`.

    The last epoch is kept, so that the tested group, which is watched while its fold trains, chooses nothing.

    Args:
        images: frames; those of one cine have one file.
        model: a network's name.
        folds: how many.
        settings: of the training; `keep` is "last".
        work: keeps each fold.
        progress: where the epochs are shown.
        doubt: whether to measure the spreads, which cost many passes.
    """
    splits = k_fold(images.patients, images.targets, folds, settings.seed, within={})
    networks, parts = [], []
    for number, split in enumerate(splits, start=1):
        sides = split.indices(images.patients)
        definition = preset(
            model, in_channels=images.shape[0], out_channels=len(images.labelling.names), dropout=DROPOUT
        )
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            network = build({"network_def": definition})
        progress.say(f"fold {number} of {folds}")
        fit(
            network,
            images.subset(sides["training"]),
            images.subset(sides["test"]),
            settings,
            work / f"fold_{number}",
            progress,
            resume=True,
        )
        networks.append(network.eval())
        parts.append(asked(network, images.subset(sides["test"]), settings, doubt))
    order = np.argsort(np.concatenate([split.indices(images.patients)["test"] for split in splits]), kind="stable")
    logits, *spreads = (np.concatenate(each)[order] for each in zip(*parts, strict=True))
    return Folds(tuple(networks), scored_frames(images, logits), *spreads)


def scored_frames(images: Images, logits: Values) -> Scored:
    """A row for each frame."""
    return Scored.of(
        logits,
        images.targets,
        images.patients,
        images.labelling.names,
        images.labelling.head,
        exams=images.exams,
        files=[f"{row}" for row in images.rows],
        parts=[int(part) for part in images.parts],
    )


def frame_logits(network: nn.Module, images: Images) -> Values:
    """(N, K)."""
    with torch.no_grad():
        return torch.cat([network(x) for x in _batches(images)]).double().numpy()


def _batches(images: Images) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), BATCH):
        yield torch.stack([images[i]["image"] for i in range(start, min(start + BATCH, len(images)))])


def asked(
    network: nn.Module, images: Images, settings: Settings, doubt: bool = True, upright: bool = True
) -> tuple[Values, Values, Values, Values]:
    """Logits (N, K), and spreads (N,) of the probability of the class that the mean of the passes predicts.

    By dropout, by copies changed as in the training, and by such copies that are not mirrored upside down: a pleura
    below is no ultrasound of a lung, so that its doubt is not that of the picture. Unless `upright`, the last is the
    one before again and costs nothing.
    """
    if not doubt:
        unknown = np.full(len(images), np.nan)
        return frame_logits(network, images), unknown, unknown, unknown
    sideways = tuple(axis for axis in settings.flips if axis != UPSIDE_DOWN or not upright)
    random = {flips: torch.Generator().manual_seed(settings.seed) for flips in (settings.flips, sideways)}
    logits, dropped = [], []
    changed: dict[tuple[int, ...], list[torch.Tensor]] = {flips: [] for flips in random}
    with torch.no_grad():
        for x in _batches(images):
            logits.append(network(x))
            dropped.append(_with_dropout(network, x, settings.seed))
            for flips, generator in random.items():
                copies = (augment_images(x, flips, generator, changes=settings.changes) for _ in range(PASSES))
                changed[flips].append(torch.stack([network(copy).softmax(1) for copy in copies]))
    by_copies = [_spread(torch.cat(changed[flips], dim=1)) for flips in (settings.flips, sideways)]
    return torch.cat(logits).double().numpy(), _spread(torch.cat(dropped, dim=1)), by_copies[0], by_copies[1]


def _with_dropout(network: nn.Module, x: torch.Tensor, seed: int) -> torch.Tensor:
    """Probabilities (passes, B, K); only the layers of dropout are in training mode."""
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout | nn.Dropout2d)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            for layer in layers:
                layer.train()
            return torch.stack([network(x).softmax(1) for _ in range(PASSES)])
        finally:
            for layer in layers:
                layer.eval()


def _spread(probabilities: torch.Tensor) -> Values:
    """(passes, B, K) to (B,)."""
    predicted = probabilities.mean(0).argmax(1)
    own = probabilities.gather(2, predicted[None, :, None].expand(len(probabilities), -1, 1))[:, :, 0]
    return own.std(0, correction=0).double().numpy()


def counts(images: Images) -> Sequence[tuple[str, int, int, int]]:
    """For each class its groups, clips and frames."""
    told = []
    for k, name in enumerate(images.labelling.names):
        rows = np.flatnonzero(images.targets[:, k] > 0.5)
        groups, clips = {images.patients[i] for i in rows}, {int(images.rows[i]) for i in rows}
        told.append((name, len(groups), len(clips), len(rows)))
    return told
