"""What a run keeps: its state after the last epoch, to go on exactly, and the weights of the best epoch."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint

from medcam.errors import TrainingError, UsageError
from medcam.storage import storage_errors, write_whole
from medcam.training.checks import Examples
from medcam.training.fitted import best
from medcam.training.settings import Settings

LAST, BEST = "last.ckpt", "best.safetensors"
PREFIX = "network."


class WholeFiles(CheckpointIO):
    """Checkpoints that are there whole or not at all, and are read without running what is in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Raises ResultsError "disk-full" and leaves the older file as it is."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with storage_errors(Path(path).parent):
            write_whole(Path(path), content.getvalue())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Raises TrainingError "checkpoint" if the file is damaged."""
        return load(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, on the CPU.

    Raises:
        TrainingError: "checkpoint", the file is not one.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise TrainingError("checkpoint", f"{path} cannot be read ({error}); start again in another folder.") from error
    return checkpoint


class Keeper(Checkpoint):
    """After each epoch the best weights, if they are new, and then the state of the run.

    A process that dies between the two leaves best weights that the repeated epoch finds again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, loop: Any) -> None:
        if trainer.is_global_zero and best(loop.history, loop.settings.keep) is loop.history[-1]:
            from safetensors.torch import save

            weights = {name: value.cpu().contiguous() for name, value in loop.network.state_dict().items()}
            with storage_errors(self.folder):
                write_whole(self.folder / BEST, save(weights))
        trainer.save_checkpoint(self.folder / LAST)


def identity(training: Examples, validation: Examples, settings: Settings, precision: str) -> dict[str, Any]:
    """What must be the same for a run to go on: settings, precision and a digest of who was labelled how."""
    told = hashlib.sha256()
    for examples in (training, validation):
        shape = examples[0]["image"].shape
        for part in (examples.patients, examples.exams, examples.labelling.to_dict(), tuple(shape)):
            told.update(repr(part).encode())
        told.update(np.ascontiguousarray(examples.targets).tobytes())
    return {"settings": settings.to_dict(), "precision": precision, "data": told.hexdigest()}


def check_same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raises UsageError "resume-differs" where an interrupted run was another one than this, saying in what."""
    old, new = before["settings"] | before, now["settings"] | now
    differ = [name for name in new if name != "settings" and old.get(name) != new[name]]
    if differ:
        raise UsageError(
            "resume-differs",
            f"The run in {folder} had other {', '.join(differ)}; give the same again, or choose another folder.",
        )
