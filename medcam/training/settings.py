"""Everything that decides how a network is trained, and nothing about the data or the network themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from medcam.errors import UsageError
from medcam.record import Record
from medcam.training._augmentation import USUAL, Changes
from medcam.training.curriculum import Curriculum

Alpha = Literal["none", "counts", "effective", "given"]
Balance = Literal["none", "image", "patient"]
Schedule = Literal["one-cycle", "cosine"]
Unit = Literal["image", "exam", "patient"]
Keep = Literal["best", "last"]
Precision = Literal["auto", "32", "bf16-mixed", "16-mixed"]
Strategy = Literal["auto", "ddp"]


@dataclass(frozen=True)
class Settings(Record):
    """One record of a run: the same settings, data and seed give the same weights.

    Raises:
        UsageError: "settings", a value makes no sense; "double-correction", rare classes would be favoured twice.
    """

    epochs: int = 15
    batch: int = 16
    """Images of one step, or bags of them, over all devices together."""
    per_bag: int = 32
    """Of a bag, at most so many images in a step, drawn anew every epoch."""
    per_epoch: int | None = None
    """Images of one epoch; None is as many as there are."""
    rate: float = 1e-3
    """The highest learning rate of the schedule."""
    weight_decay: float = 0.02
    """Of AdamW, on weights of layers; biases and normalisation go without."""
    schedule: Schedule = "one-cycle"
    warm_up: float = 0.15
    """Share of all steps in which the learning rate rises."""
    clip: float = 5.0
    """Largest norm of the gradient."""
    gamma: float = 1.0
    """Of the focal loss; 0 is plain cross-entropy."""
    alpha: Alpha = "none"
    """Weights of the classes in the loss, see `losses.class_weights`."""
    weights: tuple[float, ...] = ()
    """With alpha "given"."""
    beta: float = 0.999
    """With alpha "effective"."""
    smoothing: float = 0.0
    """Share of each label that is spread over all classes."""
    balance: Balance = "none"
    """Which examples an epoch shows, see `balance.order`."""
    correct_twice: bool = False
    """Allow class weights and a balancing sampler together."""
    augment: bool = True
    changes: Changes = USUAL
    """How much images are changed then."""
    flips: tuple[int, ...] = ()
    """Axes of space that may be mirrored; none by default, because which side is which is part of a finding."""
    curriculum: Curriculum | None = None
    """Low frequencies first."""
    patience: int | None = 5
    """Epochs without a better validation result before training stops; None trains all epochs."""
    keep: Keep = "best"
    """Which epoch's weights: that of the best validation result; or the last, where too few patients validate."""
    unit: Unit = "exam"
    """What counts as one case in validation: scores of its images are averaged."""
    precision: Precision = "auto"
    devices: int = 1
    """Processes that share each batch; with a graphics card, cards."""
    strategy: Strategy = "auto"
    """"ddp": a process for each device, gradients averaged; "auto" takes it where there are several devices."""
    seed: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            allowed, value = get_args(hints[field.name]), getattr(self, field.name)
            if hints[field.name] in (Alpha, Balance, Schedule, Keep, Unit, Precision, Strategy):
                _check(value in allowed, field.name, value, f"one of {', '.join(map(str, allowed))}")
        for name in ("epochs", "batch", "per_bag", "per_epoch", "patience", "devices"):
            value = getattr(self, name)
            _check(value is None or value >= 1, name, value, "at least 1")
        for name in ("rate", "clip"):
            value = getattr(self, name)
            _check(0 < value < math.inf, name, value, "above 0")
        for name in ("weight_decay", "gamma"):
            value = getattr(self, name)
            _check(0 <= value < math.inf, name, value, "0 or more")
        for name in ("warm_up", "beta", "smoothing"):
            value = getattr(self, name)
            _check(0 <= value < 1, name, value, "from 0 to below 1")
        _check((self.alpha == "given") == bool(self.weights), "weights", self.weights, 'given with alpha "given" only')
        _check(self.batch % self.devices == 0, "batch", self.batch, f"a multiple of devices ({self.devices})")
        if self.alpha != "none" and self.balance != "none" and not self.correct_twice:
            raise UsageError(
                "double-correction",
                f'alpha "{self.alpha}" and balance "{self.balance}" both favour rare classes, which then count too '
                "much; choose one of them, or set correct_twice if you mean it.",
            )


def _check(holds: bool, name: str, value: Any, wanted: str) -> None:
    if not holds:
        raise UsageError("settings", f"{name} is {value}, but must be {wanted}.")
