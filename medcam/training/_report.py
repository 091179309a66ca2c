"""How far training is, on the terminal and in TensorBoard."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from medcam.progress import Progress, Tick
from medcam.training.fitted import Epoch, best

STEPS_BETWEEN_POINTS = 10


class Report(Callback):
    """One bar over all steps, a line after each epoch, curves of both."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tick: Tick | None = None

    def __getstate__(self) -> dict[str, Any]:
        """In another process there is no bar to share: it prints lines."""
        return {"_progress": self._progress.plain(), "_tick": None}

    def on_train_start(self, trainer: Trainer, loop: Any) -> None:
        if trainer.is_global_zero:
            self._tick = self._progress.stage("training steps")

    def on_train_batch_end(self, trainer: Trainer, loop: Any, output: Any, batch: Any, step: int) -> None:
        if self._tick is not None:
            self._tick(trainer.global_step, loop.settings.epochs * len(loop.batches()))
        if trainer.global_step % STEPS_BETWEEN_POINTS == 0:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            _draw(trainer, {"step/loss": output["loss"].item(), "step/rate": rate}, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, loop: Any) -> None:
        epoch = loop.history[-1]
        points = {"epoch/loss": epoch.loss, "epoch/validation loss": epoch.validation_loss}
        if epoch.auroc is not None:
            points["epoch/validation AUROC"] = epoch.auroc
        _draw(trainer, points, epoch.number)
        if trainer.is_global_zero:
            self._progress.say(_line(epoch, loop.settings.epochs, best(loop.history, loop.settings.keep) is epoch))


def _draw(trainer: Trainer, points: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(points, step)


def _line(epoch: Epoch, epochs: int, is_best: bool) -> str:
    area = "" if epoch.auroc is None else f", AUROC {epoch.auroc:.3f}"
    return (
        f"epoch {epoch.number} of {epochs}: loss {epoch.loss:.4f}, validation loss {epoch.validation_loss:.4f}{area}, "
        f"{epoch.seconds:.0f} s{', best so far' if is_best else ''}"
    )
