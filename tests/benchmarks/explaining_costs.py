"""What each method on the shelf costs for one class of one image, in forward passes under `inference_mode`.

With default settings, DenseNet121 at 224 x 224 (methods for transformers: a small ViT), explained a second time, so that
shapes are traced. A method that takes more than 20 forwards is stopped at its next report of progress, and its time
scaled by how much of its work was done; details say so.
"""

import contextlib
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from medcam.errors import MedcamError
from medcam.explainers import SHELF, explain
from medcam.explainers.base import Method
from tests.benchmarks.explaining_sides import NETWORKS, TARGET, of_shape, text
from tests.benchmarks.measure import Row, spread

ENOUGH = 20
"""Forwards after which a method is stopped."""


class Stopped(Exception):  # noqa: N818 - not an error
    """Enough of a method's work was seen to tell how long all of it takes."""


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """All methods, by turns."""
    size = 64 if quick else 224
    network = next(network for network in NETWORKS if network.name == "DenseNet121")
    convolutional, transformer = network.model(2), vit(size)
    methods = {name: SHELF.load(name) for name in SHELF.names()}
    rows = []
    for name, method in methods.items():
        model, called = (transformer, "ViT") if method.family == "transformer" else (convolutional, network.name)
        rows.append(cost(name, method, model, called, of_shape((1, 1, size, size)), rounds))
    return rows


def vit(size: int) -> nn.Module:
    """Six blocks of 384 channels, patches of 16."""
    from monai.networks.nets import ViT

    torch.manual_seed(0)
    network: nn.Module = ViT(
        in_channels=1,
        img_size=(size, size),
        patch_size=(16, 16),
        hidden_size=384,
        mlp_dim=1536,
        num_layers=6,
        num_heads=6,
        classification=True,
        num_classes=5,
        post_activation="none",
        spatial_dims=2,
    )
    return network.eval()


def cost(name: str, method: type[Method], model: nn.Module, network: str, x: Tensor, rounds: int) -> Row:
    """One method by turns with the forward pass."""
    what = f"`{name}`, one class, {network}, {text(tuple(x.shape))}, in forwards"
    costs = method.forwards, method.tail_forwards, method.tail_backwards
    declared = "declares passes: {} whole, {} through the tail, {} backwards".format(*costs)
    try:
        part = seconds_of(method, model, x, 0.0)[1]
    except MedcamError as error:
        return Row(what, "refused", "", f"{error.code}; {declared}")
    values = []
    for _ in range(rounds):
        begun = time.perf_counter()
        with torch.inference_mode():
            model(x)
        forward = time.perf_counter() - begun
        taken, part = seconds_of(method, model, x, ENOUGH * forward)
        values.append(taken / part / forward)
    scaled = "" if part == 1 else f"; stopped after {100 * part:.1f} % and scaled"
    return Row(what, spread(values), "", declared + scaled)


def seconds_of(method: type[Method], model: nn.Module, x: Tensor, limit: float) -> tuple[float, float]:
    """Seconds, and the part of the work that was done in them: 1 unless the limit came first."""
    begun = time.perf_counter()
    done_part = 1.0

    def look(done: int, total: int) -> None:
        nonlocal done_part
        if done < total and time.perf_counter() - begun > limit:
            done_part = done / total
            raise Stopped

    with contextlib.suppress(Stopped):
        explain(model, x, method, TARGET, progress=look)
    return time.perf_counter() - begun, done_part
