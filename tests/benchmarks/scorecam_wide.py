"""Grouped Score-CAM again, of a layer of 512 channels, as wide as ResNet-18's last, whose cells are averaged.

A convolution to 512 channels is trained for each demonstration bundle, on its stages as they are and on phantoms that
are not measured here: an image's mean of channels, and a linear layer.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.benchmarks.measure import Row
from tests.benchmarks.scorecam import GROUPS, asked, bundled, row, seen

CHANNELS, GROUPED = 512, 47
TRAINED, FIRST_TRAINED = 160, 91_000_000
STEPS, BATCH = 300, 16
FIRST, PHANTOMS = 83_000_000, 10


class Wide(nn.Module):
    """A trained trunk, a wide convolution, the mean of its cells, and a linear layer for one logit."""

    def __init__(self, trunk: nn.Module, channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        convolution = nn.Conv2d(channels, CHANNELS, 3, stride=2, padding=1, bias=False)
        self.wide = nn.Sequential(nn.MaxPool2d(2), convolution, nn.BatchNorm2d(CHANNELS), nn.ReLU())
        self.fc = nn.Linear(CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, 1) of what the trunk gives."""
        logits: Tensor = self.fc(self.wide(features).flatten(2).mean(2))
        return logits


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """All bundles, of logits; nothing is timed."""
    return [compare(pipeline, 2 if quick else PHANTOMS) for pipeline in GROUPS]


def compare(pipeline: str, phantoms: int) -> Row:
    """One bundle's trunk under a wide layer."""
    model = trained(pipeline)
    card = bundled(pipeline)[2]
    drawn = [seen(pipeline, seed, card) for seed in range(FIRST, FIRST + phantoms)]
    results = [asked(model, x, "wide", GROUPED, "logit", "mean") for x, _ in drawn]
    masks = [mask for _, mask in drawn]
    right = sum((float(maps[0].scores) > 0) == bool(mask.any()) for (maps, _), mask in zip(results, masks, strict=True))
    return row(
        f"{card.name} under {CHANNELS} channels ({right} of {phantoms} right), of logits",
        GROUPED,
        masks,
        [maps for maps, _ in results],
        [passes for _, passes in results],
        "at least 0.9",
    )


def trained(pipeline: str) -> Wide:
    """On the trunk's features of `TRAINED` phantoms, the trunk as it is."""
    model, _, card = bundled(pipeline)
    trunk = nn.Sequential(model.get_submodule("stem"), model.get_submodule("stages")).eval().requires_grad_(False)
    seeds = range(FIRST_TRAINED, FIRST_TRAINED + TRAINED)
    features = torch.cat([trunk(seen(pipeline, seed, card)[0].float()) for seed in seeds])
    truth = torch.tensor([[float(seed % 2)] for seed in seeds])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Wide(trunk, features.shape[1])
        weights = [*net.wide.parameters(), *net.fc.parameters()]
        optimiser = torch.optim.AdamW(weights, 1e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=STEPS)
        net.wide.train()
        for _ in range(STEPS):
            some = torch.randperm(TRAINED)[:BATCH]
            loss = binary_cross_entropy_with_logits(net.head(features[some]), truth[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()
