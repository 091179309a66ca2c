"""Bags in the loop: of different sizes, drawn anew each epoch, and an interrupted run goes on exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medcam.data.bags import Bags, collate
from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.errors import UsageError
from medcam.models.mil import MIL
from medcam.models.resnet import ResNet
from medcam.progress import Progress
from medcam.training._bagged import Drawn, Draws, answer
from medcam.training.settings import Settings
from medcam.training.trainer import fit
from tests.training.in_memory import Disturbed, network

QUIET = Progress(quiet=True)
SETTINGS = Settings(epochs=3, batch=4, per_bag=3, rate=1e-2, patience=None, precision="32", balance="patient")
LOOKS = 3 * 5
"""`fit` takes three training bags of five and more images before the first epoch."""


def bags(seed: int = 0, patients: int = 12) -> Bags:
    """Bags of five to seven dim images; every second has a bright square in one of them."""
    random, images, targets, names = np.random.default_rng(seed), [], [], []
    for patient in range(patients):
        several = random.uniform(0.1, 0.4, (5 + patient % 3, 1, 16, 16)).astype(np.float32)
        several[random.integers(len(several)), 0, 4:12, 4:12] += 0.5 * (patient % 2)
        images.append(several)
        targets += [[patient % 2]] * len(several)
        names += [f"{seed}-{patient}"] * len(several)
    labelling = Labelling.binary("square", ["1"], ["0"])
    return Bags(Images.of(np.concatenate(images), targets, names, labelling, names), "exam")


def mil() -> MIL:
    torch.manual_seed(0)
    return MIL(ResNet(2, 1, 1, (4, 8), (1, 1), (1, 2), stem_pool=False, dropout=0.2), 8)


def test_an_interrupted_run_of_bags_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    whole = fit(mil(), bags(), bags(1), SETTINGS, tmp_path / "whole", QUIET)
    broken = bags()

    def stop() -> None:
        raise KeyboardInterrupt

    broken.images.transform = Disturbed(LOOKS + 60, stop)  # in the second epoch of 36 images
    with pytest.raises(KeyboardInterrupt):
        fit(mil(), broken, bags(1), SETTINGS, tmp_path / "broken", QUIET)
    again = fit(mil(), bags(), bags(1), SETTINGS, tmp_path / "broken", QUIET, resume=True)
    assert len(again.history) == 3
    assert all(torch.equal(value, whole.weights[name]) for name, value in again.weights.items())


def test_each_epoch_draws_other_images_and_the_same_again_when_it_is_repeated() -> None:
    every = bags()
    batches = Draws(every.targets, every.patients, every.labelling.head, "none", 0, 4)
    drawn = Drawn(every, 3, seed=5)

    def shown(epoch: int) -> dict[int, torch.Tensor]:
        batches.set_epoch(epoch)
        return {key[0]: drawn[key]["image"] for batch in batches for key in batch}

    first, second = shown(0), shown(1)
    assert {len(image) for image in first.values()} == {3}
    assert not all(torch.equal(first[bag], second[bag]) for bag in first)
    again = shown(0)
    assert all(torch.equal(first[bag], again[bag]) for bag in first)


def test_a_batch_of_bags_gives_each_the_answer_that_it_has_alone() -> None:
    net, every = mil().eval(), bags()
    batch = collate([every[i] for i in (3, 0, 8)])
    with torch.no_grad():
        together = answer(net, batch["image"], batch)
        for row, index in enumerate((3, 0, 8)):
            alone = net(every[index]["image"].transpose(0, 1)[None])
            torch.testing.assert_close(together[row], alone[0])


def test_bags_for_a_network_of_single_images_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes single images, not bags") as refused:
        fit(network(), bags(), bags(1), SETTINGS, tmp_path, QUIET)
    assert refused.value.code == "network-input"
