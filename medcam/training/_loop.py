"""One network, its loss, its optimiser and its steps, as Lightning's loop wants them.

Every step's chance (dropout, augmentation) depends on seed, epoch, step and process alone: a run that was interrupted
and goes on from the end of an epoch is the run that was not.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from medcam.data.bags import Bags, collate
from medcam.errors import TrainingError
from medcam.training._augmentation import augment_images
from medcam.training._bagged import Drawn, Draws, answer
from medcam.training._cases import case_auroc
from medcam.training._rate import rate
from medcam.training.balance import Batches
from medcam.training.checks import Examples
from medcam.training.curriculum import low_frequencies
from medcam.training.fitted import Epoch, done
from medcam.training.losses import FocalLoss, class_weights
from medcam.training.settings import Settings

Batch = dict[str, torch.Tensor]


class Loop(LightningModule):
    """Trains `network` on the training examples and looks at the validation examples after each epoch.

    Args:
        run: what this run is, kept in its checkpoints; see `_checkpoints.identity`.
    """

    def __init__(
        self, network: nn.Module, training: Examples, validation: Examples, settings: Settings, run: dict[str, Any]
    ) -> None:
        super().__init__()
        self.run = run
        self.network, self.settings = network, settings
        self.training_examples, self.validation_examples = training, validation
        head = training.labelling.head
        weights = class_weights(settings.alpha, training.targets, head, settings.weights, settings.beta)
        self.loss = FocalLoss(head, settings.gamma, weights, settings.smoothing, reduction="none")
        self.history: list[Epoch] = []
        self._losses: list[torch.Tensor] = []
        self._told: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._size: tuple[int, ...] = ()
        self._began = 0.0

    # Data

    def batches(self) -> Batches:
        """Of this process."""
        examples, settings = self.training_examples, self.settings
        kind = Draws if isinstance(examples, Bags) else Batches
        return kind(
            examples.targets,
            examples.patients,
            examples.labelling.head,
            settings.balance,
            settings.seed,
            settings.batch,
            settings.per_epoch,
            self.global_rank,
            self.trainer.world_size,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        examples: Any = self.training_examples
        if isinstance(examples, Bags):
            examples = Drawn(examples, self.settings.per_bag, self.settings.seed)
        return DataLoader(examples, batch_sampler=self.batches(), collate_fn=collate)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every process looks at an equally large part; at the end of a part some examples may come again.

        Bags come whole and one by one, because some are large.
        """
        size = 1 if isinstance(self.validation_examples, Bags) else self.settings.batch
        count, processes = len(self.validation_examples), self.trainer.world_size
        each = -(-count // processes)
        own = [index % count for index in range(self.global_rank * each, (self.global_rank + 1) * each)]
        batches = [own[first : first + size] for first in range(0, each, size)]
        return DataLoader(self.validation_examples, batch_sampler=batches, collate_fn=collate)  # type: ignore[arg-type]

    # Training

    def configure_optimizers(self) -> Any:
        settings = self.settings
        plain = [p for p in self.network.parameters() if p.requires_grad and p.ndim < 2]  # biases, normalisation
        layers = [p for p in self.network.parameters() if p.requires_grad and p.ndim >= 2]
        groups: list[dict[str, Any]] = [{"params": layers}, {"params": plain, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.weight_decay)
        steps = settings.epochs * len(self.batches())
        share = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate(step, steps, settings.warm_up, settings.schedule)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": share, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        self._began, self._losses = time.monotonic(), []

    def training_step(self, batch: Batch, step: int) -> torch.Tensor:
        seed = np.random.SeedSequence((self.settings.seed, self.current_epoch, step, self.global_rank))
        dropout, chance = (int(part) for part in seed.generate_state(2))
        torch.manual_seed(dropout)
        with torch.autocast(self.device.type, enabled=False):  # places and spectra need every digit
            images = self._shown(batch["image"], torch.Generator().manual_seed(chance))
        loss: torch.Tensor = self.loss(answer(self.network, images, batch).float(), batch["target"]).mean()
        if not bool(torch.isfinite(loss)):
            raise self._not_finite(f"The loss is not a number in epoch {self.current_epoch + 1}, step {step + 1}")
        self._losses.append(loss.detach())
        return loss

    def _shown(self, images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """Images (B, C, *space) as this epoch shows them: changed a little, and smaller where a curriculum says so."""
        settings, strength, self._size = self.settings, 1.0, tuple(images.shape[2:])
        if settings.curriculum is not None:
            strength = settings.curriculum.strength(self.current_epoch, settings.epochs)
            self._size = settings.curriculum.size(self.current_epoch, settings.epochs, images.shape[2:])
        if settings.augment:
            images = augment_images(images, settings.flips, random, strength, settings.changes)
        return low_frequencies(images, self._size)

    def _not_finite(self, where: str) -> TrainingError:
        last = f"is that of epoch {self.history[-1].number}" if self.history else "does not exist yet"
        return TrainingError(
            "nan-loss",
            f'{where}; use a lower rate or precision "32". The last good checkpoint in '
            f"{self.trainer.default_root_dir} {last}.",
        )

    # Validation

    def on_validation_epoch_start(self) -> None:
        self._told = []

    def validation_step(self, batch: Batch, step: int) -> None:
        with torch.autocast(self.device.type, enabled=False):  # as the network will be used
            logits = answer(self.network, batch["image"], batch)  # (B, K)
        self._told.append((batch["index"], logits, self.loss(logits, batch["target"])))

    def on_validation_epoch_end(self) -> None:
        """Add the epoch to the history; every process comes to the same result."""
        examples = self.validation_examples
        logits, losses = np.zeros(examples.targets.shape), np.zeros(len(examples))
        index, z, loss = (self._gathered(torch.cat(parts)) for parts in zip(*self._told, strict=True))
        logits[index.astype(int)], losses[index.astype(int)] = z, loss
        if not np.isfinite(logits).all():
            raise self._not_finite(f"A validation logit is not a number after epoch {self.current_epoch + 1}")
        epoch = Epoch(
            number=self.current_epoch + 1,
            loss=float(self._gathered(torch.stack(self._losses)).mean()),
            validation_loss=float(losses.mean()),
            auroc=case_auroc(logits, examples, self.settings.unit),
            rate=float(self.trainer.optimizers[0].param_groups[0]["lr"]),
            seconds=time.monotonic() - self._began,
            size=self._size,
        )
        self.history.append(epoch)
        self.trainer.should_stop = done(self.history, self.settings)

    def _gathered(self, values: torch.Tensor) -> Any:
        """From all processes, one after the other: (n, ...) to numpy (processes x n, ...)."""
        everywhere: Any = self.all_gather(values) if self.trainer.world_size > 1 else values[None]
        return everywhere.flatten(0, 1).double().cpu().numpy()

    # Going on

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.run
        checkpoint["history"] = [epoch.to_dict() for epoch in self.history]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = [Epoch.from_dict(epoch) for epoch in checkpoint["history"]]
