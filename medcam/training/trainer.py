"""`fit`: train a network, keep the weights that tell validation patients apart best, go on after an interruption."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from medcam import errors
from medcam.data.bags import collate
from medcam.errors import MedcamError, TrainingError, UsageError
from medcam.progress import Progress
from medcam.storage import lock, storage_errors
from medcam.training._device import Resolved, accelerator, resolved
from medcam.training.checks import Examples, check, check_network
from medcam.training.fitted import Epoch, Fitted, done
from medcam.training.settings import Settings


def fit(
    network: nn.Module,
    training: Examples,
    validation: Examples,
    settings: Settings,
    folder: Path,
    progress: Progress,
    *,
    resume: bool = False,
) -> Fitted:
    """Train `network` in place; afterwards it has the weights of the best epoch and is in eval mode.

    After each epoch `folder` has the state of the run (`last.ckpt`), the best weights (`best.safetensors`) and curves
    for TensorBoard. On a CPU the same settings, data and network give the same weights bit by bit, interrupted or not.
    Several devices are processes that each take a share of every batch. Normalisation over the batch then spans all of
    them on graphics cards; on CPUs each process normalises by its own share.

    Args:
        network: images (B, C, *space) to logits (B, K); or one that attends, for examples that are bags.
        training: examples to learn from.
        validation: examples of other patients, which decide when to stop and which epoch is best.
        settings: everything else.
        folder: of this run alone.
        progress: where it is told how far training is.
        resume: go on with the run in `folder`; with none there, start.

    Raises:
        UsageError: what `check` and `check_network` find; "run-exists", `folder` has a run and `resume` was not asked
            for; "resume-differs", it was another run.
        TrainingError: "nan-loss"; "checkpoint", a damaged one; "process-failed", another process died.
        ResultsError: "disk-full" or "not-writable"; what was kept after earlier epochs is whole.
    """
    check(training, validation)
    check_network(network, training, _sizes(training, settings))
    device = accelerator(settings.devices)
    precision = resolved(settings.precision, device)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        cards = list(range(settings.devices)) if device == "cuda" else []
        with closing(lock(folder)), torch.random.fork_rng(cards), _deterministic(device == "cuda"):
            _run(network, training, validation, settings, folder, progress, resume, device, precision)
    return _fitted(network, settings, folder, precision)


def _sizes(examples: Examples, settings: Settings) -> list[tuple[int, ...]]:
    """Of images along each axis of space, all that an epoch shows."""
    full = tuple(collate([examples[0]])["image"].shape[2:])
    if settings.curriculum is None:
        return [full]
    return sorted({settings.curriculum.size(epoch, settings.epochs, full) for epoch in range(settings.epochs)})


def _run(
    network: nn.Module,
    training: Examples,
    validation: Examples,
    settings: Settings,
    folder: Path,
    progress: Progress,
    resume: bool,
    device: str,
    precision: Resolved,
) -> None:
    """Through Lightning's loop; what it brings about lies in `folder`."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import TensorBoardLogger

    from medcam.training._checkpoints import LAST, Keeper, WholeFiles, check_same, identity, load
    from medcam.training._loop import Loop
    from medcam.training._report import Report

    run, last = identity(training, validation, settings, precision), folder / LAST
    if last.exists():
        if not resume:
            raise UsageError("run-exists", f"{folder} has a run; ask for it to be resumed, or choose another folder.")
        checkpoint = load(last)
        check_same(checkpoint["run"], run, folder)
        if done([Epoch.from_dict(epoch) for epoch in checkpoint["history"]], settings):
            return
    several = settings.devices > 1 or settings.strategy == "ddp"
    with _quiet(), _interruptible(), _other_processes():
        trainer = Trainer(
            accelerator=device,
            devices=settings.devices,
            strategy="ddp_spawn" if several else "auto",  # each process gets the data; the command runs once
            sync_batchnorm=several and device == "cuda",
            precision=precision,
            max_epochs=settings.epochs,
            gradient_clip_val=settings.clip,
            benchmark=False,
            logger=TensorBoardLogger(folder, name="", version="tensorboard"),
            callbacks=[Report(progress), Keeper(folder)],
            plugins=[WholeFiles()],
            default_root_dir=folder,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loop = Loop(network, training, validation, settings, run)
        trainer.fit(loop, ckpt_path=last if last.exists() else None, weights_only=True)


def _fitted(network: nn.Module, settings: Settings, folder: Path, precision: Resolved) -> Fitted:
    from medcam.training._checkpoints import BEST, LAST, load

    weights = load_file(folder / BEST)
    network.cpu().load_state_dict(weights)
    network.eval()
    history = tuple(Epoch.from_dict(epoch) for epoch in load(folder / LAST)["history"])
    return Fitted(weights, history, settings, precision)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's remarks on workers, loggers and devices: `fit` chose them."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _deterministic(asked: bool) -> Iterator[None]:
    """Operations of graphics cards that give the same every time, where there are such; CPUs have no others."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if asked:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's matrix products need for it
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl+C is KeyboardInterrupt here as elsewhere, where Lightning makes it SystemExit and turns the signal off."""
    previous = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, previous)
            raise KeyboardInterrupt from None
        raise


@contextlib.contextmanager
def _other_processes() -> Iterator[None]:
    """An error of another process, which arrives as the text of its traceback, as what it was."""
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

    try:
        yield
    except (ProcessRaisedException, ProcessExitedException) as error:
        told = re.findall(r"^medcam\.errors\.(\w+): (.*) \[([a-z-]+)\]$", str(error), re.MULTILINE)
        if told:
            kind, message, code = told[-1]
            known: Any = getattr(errors, kind, MedcamError)
            raise known(code, message) from error
        raise TrainingError(
            "process-failed", f"A process of the training died: {str(error).strip().splitlines()[-1]}"
        ) from error
