"""Small sets of images, a small network, and one run in which chance decides all it can."""

import time

import numpy as np
import torch
from torch import nn

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.progress import Progress
from medcam.training.curriculum import Curriculum
from medcam.training.settings import Settings
from medcam.training.trainer import fit

SIZE = (24, 24)
LOOKS = 5
"""How often `fit` looks at a training example before the first epoch."""
EVERYTHING = Settings(
    epochs=6,
    batch=8,
    rate=1e-2,
    balance="patient",
    flips=(0, 1),
    smoothing=0.05,
    curriculum=Curriculum(stride=4),
    patience=None,
    precision="32",
)


def squares(patients=16, each=2, seed=0, size=SIZE, brightness=0.5):
    """Dim noise; every second patient has a bright square in all of their images, each an exam of its own."""
    random = np.random.default_rng(seed)
    images = random.uniform(0.1, 0.4, (patients * each, 1, *size)).astype(np.float32)
    sick = np.repeat(np.arange(patients) % 2, each)
    for index in np.flatnonzero(sick):
        place = (slice(start, start + 8) for start in random.integers(2, np.array(size) - 10))
        images[(index, 0, *place)] += brightness
    names = [f"patient {seed}-{number}" for number in np.repeat(np.arange(patients), each)]
    return Images.of(images, sick[:, None], names, Labelling.binary("square", ["1"], ["0"]))


class Disturbed:
    """A transform during which `event` happens once, at the `at`-th look; an image that it returns replaces the one."""

    def __init__(self, at, event):
        self.left, self.event = at, event

    def __call__(self, row):
        self.left -= 1
        replaced = self.event() if self.left == 0 else None
        return row if replaced is None else row | {"image": replaced}


def slowly(row):
    time.sleep(0.004)
    return row


def network(normalised=True, dropout=0.2):
    """Without normalisation and dropout it learns the same however a batch is divided."""
    torch.manual_seed(0)
    layers = []
    for channels, width in ((1, 8), (8, 16)):
        layers += [nn.Conv2d(channels, width, 3, 2), nn.BatchNorm2d(width) if normalised else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 1))


def run(folder, transform=None):
    """Go on with the run in `folder`, or start it."""
    training = squares()
    training.transform = transform or training.transform
    return fit(network(), training, squares(seed=1), EVERYTHING, folder, Progress(quiet=True), resume=True)
