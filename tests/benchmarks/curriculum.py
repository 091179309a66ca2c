"""Training with the low-frequency curriculum of EfficientTrain over training without it.

Both sides are runs of `fit` with the same images, steps and validation; only the size of what the first four fifths of
the epochs see differs. Seconds are those of the epochs, without checkpoints, which weigh little beside real epochs. What
the curriculum costs or gains in accuracy is another matter.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from medcam.models.resnet import ResNet
from medcam.progress import Progress
from medcam.training.curriculum import Curriculum
from medcam.training.settings import Settings
from medcam.training.trainer import fit
from tests.benchmarks.measure import Row, interleaved, ratios, spread
from tests.training.in_memory import squares

SETTINGS = Settings(epochs=5, batch=16, patience=None)


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """ResNet-18 at 160 x 160, 5 epochs of 64 images."""
    return [compare("ResNet-18", ResNet, folder, (160, 160), 16 if quick else 64, rounds)]


def compare(
    name: str, network: Callable[[], nn.Module], folder: Path, size: tuple[int, int], images: int, rounds: int
) -> Row:
    """The two sides.

    Raises:
        RuntimeError: they did not take the same number of epochs, or not in the sizes they should.
    """
    training, validation = squares(images, 1, size=size), squares(8, 1, seed=1, size=size)
    lowered = replace(SETTINGS, curriculum=Curriculum())
    taken: dict[str, list[float]] = {"plain": [], "lowered": []}

    def train(side: str, settings: Settings) -> None:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            fitted = fit(network(), training, validation, settings, Path(own), Progress(quiet=True))
        stages = settings.curriculum or Curriculum((1.0,), (1.0,))
        if [epoch.size for epoch in fitted.history] != [stages.size(epoch, 5, size) for epoch in range(5)]:
            raise RuntimeError(f"sizes were {[epoch.size for epoch in fitted.history]}")
        taken[side].append(fitted.seconds)

    interleaved({"plain": lambda: train("plain", SETTINGS), "lowered": lambda: train("lowered", lowered)}, rounds)
    shape = " x ".join(map(str, size))
    return Row(
        f"training with the low-frequency curriculum over without, {name} at {shape}, {images} images",
        spread(ratios(taken["lowered"], taken["plain"])),
        f"{Curriculum().cost(5, size):.2f} if all work went with the pixels",
        f"{spread(taken['lowered'], 1)} s over {spread(taken['plain'], 1)} s",
    )
