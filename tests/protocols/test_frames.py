"""Networks of frames: who is tested by whom, and the spread of passes by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.splits import k_fold
from medcam.progress import Progress
from medcam.protocols import _frames
from medcam.protocols._frames import counts, frame_logits, train_frames
from medcam.training.settings import Settings

LABELS = Labelling.classes({"a": ["a"], "b": ["b"]})
SETTINGS = Settings(epochs=1, batch=8, patience=None, keep="last", gamma=0.0, precision="32")


def images() -> Images:
    """Twelve groups of two frames."""
    random = np.random.default_rng(0)
    classes = np.repeat(np.arange(12) % 2, 2)
    groups = [f"group {number // 2}" for number in range(24)]
    return Images.of(random.random((24, 1, 32, 32)), np.eye(2)[classes], groups, LABELS)


def test_every_frame_is_told_by_the_network_that_did_not_learn_its_group(tmp_path: Path) -> None:
    frames = images()
    folds = train_frames(frames, "mobilenet_v3_small", 3, SETTINGS, tmp_path, Progress(quiet=True))
    everything = [frame_logits(network, frames) for network in folds.networks]
    assert len(everything) == 3
    for logits, split in zip(everything, k_fold(frames.patients, frames.targets, 3, 0, within={}), strict=True):
        sides = np.array(split.of(frames.patients))
        assert not {p for p, s in zip(frames.patients, sides, strict=True) if s == "test"} & {
            p for p, s in zip(frames.patients, sides, strict=True) if s != "test"
        }
        np.testing.assert_allclose(folds.scored.logits[sides == "test"], logits[sides == "test"], atol=1e-5)
    assert folds.scored.patients == tuple(frames.patients)
    assert (folds.dropout_sd > 0).any()
    assert (folds.augmentation_sd > 0).all()


def test_the_spread_is_that_of_the_class_which_the_mean_predicts() -> None:
    first = torch.tensor([0.9, 0.8, 1.0, 0.7, 0.6])  # the class with the mean 0.8
    passes = torch.stack([torch.stack([first, 1 - first], 1), torch.full((5, 2), 0.5)], 1)  # (passes, frames, classes)
    assert _frames._spread(passes) == pytest.approx([0.141421, 0.0], abs=1e-6)
    in_turns = torch.tensor([0.0, 1.0] * 5)
    assert _frames._spread(torch.stack([in_turns, 1 - in_turns], 1)[:, None]) == pytest.approx([0.5])


def test_dropout_is_the_only_thing_that_passes_differ_in() -> None:
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Dropout(0.5), nn.Linear(2, 2)).eval()
    x, before = torch.rand(6, 1, 2, 2), [buffer.clone() for buffer in network.buffers()]
    passes = _frames._with_dropout(network, x, 0)
    assert passes.shape == (10, 6, 2)
    assert len(torch.unique(passes[:, 0, 0])) > 1
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(one, other) for one, other in zip(before, network.buffers(), strict=True))
    network[3].p = 0.0
    assert torch.equal(_frames._with_dropout(network, x, 0), network(x).softmax(1).expand(10, -1, -1))


def test_groups_clips_and_frames_are_counted_by_class() -> None:
    frames = Images.of(
        np.zeros((5, 1, 2, 2)), [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]], ["p", "p", "q", "q", "q"], LABELS
    )
    frames.rows = np.array([0, 0, 1, 2, 2])
    assert counts(frames) == [("a", 2, 2, 3), ("b", 1, 1, 2)]
