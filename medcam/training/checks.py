"""What must hold before the first epoch: a run on data that cannot teach, or that leak, ends at once and says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medcam.data import leak
from medcam.data.bags import collate
from medcam.data.labelling import Labelling
from medcam.errors import UsageError


class Examples(Protocol):
    """What training asks of its data; `medcam.data.dataset.Images` is one."""

    targets: npt.NDArray[np.float32]
    """(N, K)"""
    patients: list[str]
    exams: list[str]
    labelling: Labelling

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """{"image": (C, *space) float32 in [0, 1], "target": (K,), "index"}; of bags see `data.bags.Bags`."""


def check(training: Examples, validation: Examples) -> None:
    """Refuse data that no network can be trained or chosen on.

    Raises:
        UsageError: "missing-labels", a target is not 0 or 1, or of several classes not exactly one is true;
            "missing-patient", nobody is named; "labels-differ", the two sides have other labels; "one-class", a class
            never occurs; "too-few-patients", a class that one patient has alone; "patient-leak", a patient on both
            sides; "mixed-size", "mixed-colour", images that do not fit together.
    """
    if training.labelling != validation.labelling:
        raise UsageError("labels-differ", "Training and validation examples are labelled differently; load them alike.")
    for side, examples in (("training", training), ("validation", validation)):
        _check_rows(side, examples)
    for name, members in _classes(training):
        owners = {training.patients[index] for index in np.flatnonzero(members)}
        if not owners:
            raise UsageError("one-class", f'No training example is "{name}"; add some or leave the label out.')
        if len(owners) == 1:
            raise UsageError(
                "too-few-patients",
                f'Only one training patient is "{name}", so a network would learn the patient; add more patients.',
            )
    if not any(0 < members.mean() < 1 for _, members in _classes(validation)):
        raise UsageError("one-class", "All validation examples are of one class, so no epoch can be called better.")
    sides = ["training"] * len(training) + ["validation"] * len(validation)
    leak.check(sides, [*training.patients, *validation.patients])
    _check_shapes(training, validation)


def _check_rows(side: str, examples: Examples) -> None:
    targets, names = examples.targets, examples.labelling.names
    wanted = (len(examples), len(names))
    if targets.shape != wanted or len(examples.patients) != len(examples) or len(examples.exams) != len(examples):
        raise ValueError(f"{side}: targets {targets.shape} or patients are not aligned with {wanted}")
    if not len(examples):
        raise UsageError("one-class", f"There is no {side} example; check the manifest and the split.")
    bad = np.any((targets != 0) & (targets != 1), axis=1)
    if examples.labelling.head == "softmax":
        bad |= targets.sum(axis=1) != 1
    if bad.any():
        raise UsageError(
            "missing-labels",
            f"{bad.sum()} of {len(bad)} {side} examples, the first is number {bad.argmax()}, have no clear label; "
            "complete their labels or leave them out.",
        )
    if not all(examples.patients):
        raise UsageError("missing-patient", f"A {side} example names no patient; without one no split can be trusted.")


def _classes(examples: Examples) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Every class by name, with the examples (N,) that belong to it; a label of its own has two."""
    columns: list[tuple[str, npt.NDArray[np.bool_]]] = []
    columns += zip(examples.labelling.names, (examples.targets > 0.5).T, strict=True)
    if examples.labelling.head == "softmax":
        return columns
    return [pair for name, has in columns for pair in ((name, has), (f"not {name}", ~has))]


def _check_shapes(*sides: Examples) -> None:
    ends = [collate([examples[index]])["image"] for examples in sides for index in (0, len(examples) - 1)]
    shapes = {tuple(images.shape[1:]) for images in ends}
    if len({shape[0] for shape in shapes}) > 1:
        raise UsageError("mixed-colour", "Some images are grey and some in colour; give one kind or convert them.")
    if len(shapes) > 1:
        raise UsageError("mixed-size", f"Images differ in size ({_listed(shapes)}); prepare them with one size.")


def check_network(network: nn.Module, examples: Examples, sizes: Sequence[tuple[int, ...]]) -> None:
    """Refuse a network that does not take these images in each of the sizes, or gives another number of logits.

    Raises:
        UsageError: "network-input" or "network-output".
    """
    from medcam.training._bagged import answer
    from medcam.training.curriculum import low_frequencies

    batch, labels = collate([examples[0]]), len(examples.labelling.names)
    image = batch["image"]
    mode = network.training
    network.eval()
    try:
        for size in sizes:
            try:
                with torch.no_grad():
                    shape = tuple(answer(network, low_frequencies(image, size), batch).shape)
            except (RuntimeError, ValueError) as error:
                raise UsageError(
                    "network-input",
                    f"The network does not take images of {_listed([(image.shape[1], *size)])}: {error}",
                ) from error
            if shape != (1, labels):
                raise UsageError("network-output", f"The network gives {shape} for one image and {labels} label(s).")
    finally:
        network.train(mode)


def _listed(shapes: Sequence[tuple[int, ...]] | set[tuple[int, ...]]) -> str:
    return ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
