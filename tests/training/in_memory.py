"""Examples as `medcam.data.dataset.Images` has them, made in memory: dim noise, and a bright square where there is a finding."""

import time

import numpy as np
import torch
from torch import nn

from medcam.data.labelling import Labelling
from medcam.progress import Progress
from medcam.training.curriculum import Curriculum
from medcam.training.settings import Settings
from medcam.training.trainer import fit

SIZE = (24, 24)


class InMemory:
    def __init__(self, images, targets, patients, exams, labelling):
        self.images, self.targets = torch.as_tensor(images), np.asarray(targets, np.float32)
        self.patients, self.exams, self.labelling = list(patients), list(exams), labelling

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return {"image": self.images[index], "target": torch.from_numpy(self.targets[index]), "index": index}


def squares(patients=16, each=2, seed=0, size=SIZE, brightness=0.5):
    """Every second patient has the finding, in all of their images."""
    random = np.random.default_rng(seed)
    images = random.uniform(0.1, 0.4, (patients * each, 1, *size)).astype(np.float32)
    sick = np.repeat(np.arange(patients) % 2, each)
    for index in np.flatnonzero(sick):
        place = (slice(start, start + 8) for start in random.integers(2, np.array(size) - 10))
        images[(index, 0, *place)] += brightness
    names = [f"patient {seed}-{number}" for number in np.repeat(np.arange(patients), each)]
    exams = [f"exam of {name}" for name in names]
    return InMemory(images, sick[:, None], names, exams, Labelling.binary("square", ["1"], ["0"]))


LOOKS = 5
"""How often `fit` looks at a training example before the first epoch."""


class Disturbed(InMemory):
    """Calls `event` when an example is looked at for the `at`-th time after it was armed."""

    def arm(self, at, event):
        self.left, self.event = at, event
        return self

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            self.event()
        return super().__getitem__(index)


class Slow(InMemory):
    def __getitem__(self, index):
        time.sleep(0.004)
        return super().__getitem__(index)


def network(normalised=True, dropout=0.2):
    """Without normalisation and dropout it learns the same however a batch is divided. No MONAI: quick to import."""
    torch.manual_seed(0)
    layers = []
    for channels, width in ((1, 8), (8, 16)):
        layers += [nn.Conv2d(channels, width, 3, 2), nn.BatchNorm2d(width) if normalised else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(16, 1))


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
"""All that chance decides, in one run."""


def run(folder, slowly=False):
    """Go on with the run in `folder`, or start it."""
    training = squares()
    if slowly:
        training.__class__ = Slow
    return fit(network(), training, squares(seed=1), EVERYTHING, folder, Progress(quiet=True), resume=True)
