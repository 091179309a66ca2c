"""What training gives: the weights of the best epoch, and what happened on the way."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from medcam.record import Record
from medcam.training.settings import Keep, Settings


@dataclass(frozen=True)
class Epoch(Record):
    """One line of the history."""

    number: int
    """Counted from 1."""
    loss: float
    """Mean over the training images, as augmented, while the weights changed."""
    validation_loss: float
    """Mean over the validation images."""
    auroc: float | None
    """Of validation cases, the mean over labels; None where it cannot be told."""
    rate: float
    """Learning rate at the end of the epoch."""
    seconds: float
    size: tuple[int, ...]
    """Of the training images along each axis of space."""

    @property
    def merit(self) -> tuple[float, float]:
        """The greater the better: AUROC, and of equal ones the lower loss."""
        return (round(self.auroc, 6) if self.auroc is not None else 0.0), -self.validation_loss


def best(history: Sequence[Epoch], keep: Keep = "best") -> Epoch:
    """The epoch whose weights are kept: the best, of equally good ones the first; or whichever was last."""
    return history[-1] if keep == "last" else max(history, key=lambda epoch: epoch.merit)


def done(history: Sequence[Epoch], settings: Settings) -> bool:
    """Whether training ends: all epochs were run, or there was none better for too long."""
    if not history:
        return False
    waited = history[-1].number - best(history, settings.keep).number
    return history[-1].number >= settings.epochs or (settings.patience is not None and waited >= settings.patience)


@dataclass(frozen=True)
class Fitted:
    """A trained network's weights and history."""

    weights: dict[str, torch.Tensor]
    """State dict of the best epoch, on the CPU."""
    history: tuple[Epoch, ...]
    settings: Settings
    precision: str
    """What "auto" became."""

    @property
    def best_epoch(self) -> int:
        """Counted from 1."""
        return best(self.history, self.settings.keep).number

    @property
    def seconds(self) -> float:
        """Of all epochs together, those before an interruption included."""
        return sum(epoch.seconds for epoch in self.history)

    def curves(self) -> bytes:
        """A PNG of the losses and the AUROC over the epochs, with the best one marked."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(8, 3), dpi=100, layout="constrained")
        losses, areas = figure.subplots(1, 2)
        epochs = [epoch.number for epoch in self.history]
        losses.plot(epochs, [epoch.loss for epoch in self.history], marker=".", label="training, augmented")
        losses.plot(epochs, [epoch.validation_loss for epoch in self.history], marker=".", label="validation")
        areas.plot(epochs, [epoch.auroc for epoch in self.history], marker=".", color="C1", label="validation")
        areas.axhline(0.5, color="0.6", linestyle=":")
        for axes, title in ((losses, "Loss"), (areas, f"AUROC by {self.settings.unit}")):
            axes.axvline(self.best_epoch, color="0.6", linestyle="--", label="best epoch")
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
        target = io.BytesIO()
        figure.savefig(target, format="png")
        return target.getvalue()
