"""Examples as `medcam.data.dataset.Images` has them, made in memory: dim noise, and a bright square where there is a finding."""

import numpy as np
import torch

from medcam.data.labelling import Labelling

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
    for image in images[sick == 1]:
        image[(0, *(slice(start, start + 8) for start in random.integers(2, np.array(size) - 10)))] += brightness
    names = [f"patient {seed}-{number}" for number in np.repeat(np.arange(patients), each)]
    exams = [f"exam of {name}" for name in names]
    return InMemory(images, sick[:, None], names, exams, Labelling.binary("square", ["1"], ["0"]))
