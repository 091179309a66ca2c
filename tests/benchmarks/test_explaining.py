"""The benchmarks of the explainers explain what they say, on every side; seconds don't count here."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from medcam.explainers import SHELF, explain
from medcam.explainers.base import InputMethod, View
from tests.benchmarks import explaining, explaining_costs, explaining_memory
from tests.benchmarks.explaining_sides import BUNDLE, NETWORKS, available, of_shape
from tests.explainers.nets import Linear

SMALL = replace(NETWORKS[0], build=lambda axes: _small(axes))


def _small(axes: int) -> nn.Module:
    from monai.networks.nets import ResNet

    return ResNet("basic", [1, 1, 1, 1], [4, 6, 8, 10], spatial_dims=axes, n_input_channels=1, num_classes=5)


def test_every_library_gives_the_same_map_up_to_its_scale_and_size() -> None:
    """Of one image; medcam and captum raw, the others after ReLU, the peers enlarged or scaled to one."""
    x = of_shape((1, 1, 64, 64))
    sides = available(SMALL, 2)
    assert {"forward", "medcam", "nine methods", "captum", "MONAI"} <= set(sides)
    ours = sides["medcam"](x).evidence
    torch.testing.assert_close(sides["captum"](x).detach().clamp(min=0), ours.clamp(min=0))
    torch.testing.assert_close(sides["forward"](x), SMALL.model(2)(x).detach())
    nine = sides["nine methods"](x)
    assert tuple(nine) == BUNDLE
    assert all(one.evidence.shape[1] == 5 for one in nine.values())
    torch.testing.assert_close(nine["gradcam"].evidence[:, 1:2], ours)
    assert sides["MONAI"](x).shape == (1, 1, 64, 64)
    if "torch-cam" in sides:
        theirs = sides["torch-cam"](x)[0]
        positive = ours[0].clamp(min=0)
        torch.testing.assert_close(theirs, (positive - positive.min()) / (positive.max() - positive.min() + 1e-8))
    if "pytorch-grad-cam" in sides:
        assert sides["pytorch-grad-cam"](x).shape == (1, 64, 64)


def test_wanted_ratios_are_told_with_the_peers_beside() -> None:
    rows = explaining.compare(SMALL, (1, 1, 32, 32), rounds=1)
    assert [row.wanted for row in rows] == list(explaining.WANTED.values())
    assert all(float(row.value.split()[0]) > 0 for row in rows)
    assert "captum" in rows[0].details
    assert "MONAI" in rows[0].details


HOLDS = """
import torch
from tests.benchmarks import explaining_memory
from tests.benchmarks.explaining_sides import NETWORKS, SIDES
for mib in (64, 1):
    SIDES["holds"] = lambda network, axes: lambda x: float(torch.ones(mib << 18).sum())
    print(explaining_memory.measured("holds", NETWORKS[0], (1, 1, 8, 8)))
SIDES["holds"] = lambda network, axes: None
print(explaining_memory.measured("holds", NETWORKS[0], (1, 1, 8, 8)))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_a_peak_is_what_was_held_at_once() -> None:
    """A side that holds 64 MiB of its own for a moment, beside one that holds one, each in a process of its own.

    In this process blocks that other tests have freed would be taken again, and nothing would grow.
    """
    surroundings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HOLDS],
        cwd=explaining_memory.ROOT, env=surroundings, capture_output=True, text=True, check=True,
    )  # fmt: skip
    large, small, absent = map(float, run.stdout.split())
    assert 60 < large < 80
    assert small < 16
    assert absent == explaining_memory.ABSENT


def test_a_costly_method_is_stopped_and_scaled() -> None:
    model, x = Linear().eval(), of_shape((1, 1, 16, 16))
    explain(model, x, Slow)
    whole = explaining_costs.seconds_of(Slow, model, x, limit=60.0)
    assert whole[1] == 1
    assert whole[0] > 0.2
    taken, part = explaining_costs.seconds_of(Slow, model, x, limit=0.05)
    assert 0.02 < part < 0.6
    assert taken / part == pytest.approx(whole[0], rel=0.6)
    row = explaining_costs.cost("slow", Slow, model, "Linear", x, rounds=1)
    assert row.measured.startswith("`slow`, one class, Linear, 1 x 1 x 16 x 16")
    assert "stopped after" in row.details


def test_a_method_that_does_not_fit_is_named_with_its_reason() -> None:
    flat = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 2)).eval()
    row = explaining_costs.cost("cam", SHELF.load("cam"), flat, "flat", of_shape((1, 1, 8, 8)), rounds=1)
    assert row.value == "refused"
    assert "no-linear-head" in row.details


class Slow(InputMethod):
    """A hundred steps of two milliseconds."""

    name, paper, unit, signed = "slow", "none", "arbitrary", True

    def maps(self, view: View) -> torch.Tensor:
        for step in range(100):
            time.sleep(0.002)
            view.tick(step + 1, 100)
        return torch.ones(len(view.capture.x), 1, *view.capture.x.shape[2:])
