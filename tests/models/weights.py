"""Networks and state dicts as other libraries have them, filled with numbers that depend on names alone."""

import hashlib
import re
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from medcam.models._layouts import CLASSIFIER, LAYOUTS, Layout
from medcam.models._network import build
from medcam.models._presets import preset

CLASSES = 5
NETWORKS = {
    "resnet18": {},
    "resnet50": {},
    "densenet121": {},
    "efficientnet_b0": {},
    "mobilenet_v2": {},
    "mobilenet_v3_large": {},
    "mobilenet_v3_small": {},
    "vit_b_16": {"size": 64, "width": 96, "depth": 3, "heads": 4},  # the layout does not depend on how large it is
}
GAIN = {"resnet50": 0.75, "efficientnet_b0": 1.22, "mobilenet_v3_large": 1.15, "mobilenet_v3_small": 1.25}
"""Of the weights, so that even the first layers move the logits."""
SIZE = {"mobilenet_v3_large": 32, "mobilenet_v3_small": 32}
"""Of the image; where the wide layer comes before pooling, one cell is where the two ways are the same."""


def network(name: str, layout: Layout, **more: object) -> nn.Module:
    """Ours, computing as the library does."""
    arguments = {"in_channels": 3, "out_channels": CLASSES} | NETWORKS[name] | more
    if name.startswith(("mobilenet", "efficientnet", "vit")):
        arguments["norm_epsilon"] = layout.epsilon
    if layout.padding == "tensorflow":
        arguments["padding"] = layout.padding
    return build({"network_def": preset(name, **arguments)}).eval()


def layouts(name: str, source: str) -> list[Layout]:
    kind = preset(name)["_target_"].rpartition(".")[2]
    return [layout for layout in LAYOUTS[kind] if layout.source == source]


def numbers(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers that keep activations near one, from a generator that numpy promises never to change."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).uniform(-1, 1, shape or (1,))
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        drawn = 1 + drawn / 4
    elif len(shape) > 1 and not ("pos" in name or "token" in name):
        drawn *= (6 / np.prod(shape[1:])) ** 0.5
    else:
        drawn /= 4
    return torch.from_numpy(drawn).float().reshape(shape)


def filled(name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict of these names and shapes."""
    state = {}
    for key, shape in shapes.items():
        gain = GAIN.get(name, 1.0) if len(shape) > 1 else 1.0
        state[key] = torch.tensor(0) if key.endswith("num_batches_tracked") else gain * numbers(key, shape)
    return state


def shapes(ours: nn.Module, layout: Layout) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a library's state dict, as the layout says they are."""
    named = {layout.renaming(ours, name): tuple(value.shape) for name, value in ours.state_dict().items()}
    for name, shape in named.items():
        if name.endswith("weight") and re.fullmatch(CLASSIFIER, name):
            named[name] = shape[:2]  # linear there
        if name in ("encoder.pos_embedding", "pos_embed"):
            named[name] = (1, 1 + int(np.prod(shape[2:])), shape[1])
    return named


def digest(named: Mapping[str, tuple[int, ...]]) -> str:
    """Of all names and shapes."""
    return hashlib.sha256(
        "\n".join(sorted(f"{name} {tuple(shape)}" for name, shape in named.items())).encode()
    ).hexdigest()[:16]


def with_head(ours: nn.Module, layout: Layout, state: Mapping[str, Tensor]) -> nn.Module:
    """Ours with the library's last layer too, so that logits can be compared."""
    own = ours.state_dict()
    for name in ("head.map.weight", "head.bias"):
        own[name].copy_(state[layout.renaming(ours, name)].reshape(own[name].shape))
    return ours


def image(name: str) -> Tensor:
    size = SIZE.get(name, 64)
    return numbers("image", (2, 3, size, size)).abs()


def assert_same(found: Tensor, wanted: Tensor) -> None:
    """Apart from rounding: one swapped or reversed tensor, wherever in a network, moves the logits ten times as far."""
    scale = wanted.abs().max()
    torch.testing.assert_close(found / scale, wanted / scale, rtol=0, atol=5e-5)
