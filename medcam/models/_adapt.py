"""Tensors of another library's network made to fit one here, so that the features stay exactly the same."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from medcam.models._layouts import Layout
from medcam.models._position import on_grid

STEMS = ("stem.0.weight", "stem.conv.weight", "features.conv0.weight", "patch_embedding.weight")


class MisfitError(ValueError):
    """A tensor that cannot be made to fit."""


@dataclass
class Adaptation:
    """What goes into the network by name, and what was done on the way.

    Args:
        network: what is filled; it is only looked at.
        layout: how the file's tensors are named and meant.
        names: the file's name for each name here.
        state: the file's tensors.

    Raises:
        MisfitError: a tensor has another shape, and no rule says how to change it.
    """

    network: nn.Module
    layout: Layout
    names: Mapping[str, str]
    state: Mapping[str, Tensor]
    filled: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Of the file's names."""

    def __post_init__(self) -> None:
        self.used.update(self.names.values())
        self._own = self.network.state_dict()
        for name, theirs in self.names.items():
            self.filled[name] = self._fitted(name, self.state[theirs].float())
        self._shortcuts()
        self._attention()
        self._differences()

    def _fitted(self, name: str, tensor: Tensor) -> Tensor:
        wanted = self._own[name].shape
        if name == "position":
            return self._position(tensor, wanted)
        if name == "cls_token" and self._class_position is not None:
            tensor = tensor + self._class_position  # the class token's own position is one with it
        if tensor.shape == wanted:
            return tensor
        if name in STEMS and tensor.shape[2:] == wanted[2:] and tensor.shape[0] == wanted[0]:
            return self._stem(tensor, wanted[1])
        if [n for n in tensor.shape if n > 1] == [n for n in wanted if n > 1]:
            return tensor.reshape(wanted)  # a linear layer as a convolution of 1x1
        theirs = self.names[name]
        raise MisfitError(f"{theirs} is {tuple(tensor.shape)} there, and {tuple(wanted)} is needed")

    def _stem(self, weight: Tensor, channels: int) -> Tensor:
        """(F, C, *kernel) for another number of image channels that all hold the same grey."""
        if channels == 1:
            self.notes.append(f"the stem's {weight.shape[1]} channels were summed into one for grey")
            return weight.sum(1, keepdim=True)
        if weight.shape[1] == 1:
            self.notes.append(f"the stem's one channel was shared out among {channels}")
            return weight.expand(-1, channels, *weight.shape[2:]) / channels
        raise MisfitError(f"the stem takes {weight.shape[1]} channels there, and {channels} are needed")

    @property
    def _class_position(self) -> Tensor | None:
        """(1, 1, F): where the position embedding begins with one for the class token."""
        if self.layout.source in ("medcam", "monai") or "position" not in self.names:
            return None
        return self.state[self.names["position"]][:, :1].float()

    def _position(self, tensor: Tensor, wanted: torch.Size) -> Tensor:
        """Tokens (1, N, F), or a map already, to (1, F, *grid)."""
        if tensor.ndim == 3:
            tensor = tensor if self._class_position is None else tensor[:, 1:]
            cells, grid = tensor.shape[1], tuple(wanted[2:])
            if cells != math.prod(grid):
                grid = (round(cells ** (1 / len(grid))),) * len(grid)
            if cells != math.prod(grid) or tensor.shape[2] != wanted[1]:
                raise MisfitError(f"the position embedding has {cells} patches of {tensor.shape[2]} features there")
            tensor = tensor.transpose(1, 2).reshape(1, -1, *grid)
        if tensor.ndim != len(wanted) or tensor.shape[1] != wanted[1]:
            raise MisfitError(f"the position embedding is {tuple(tensor.shape)} there, and {tuple(wanted)} is needed")
        if tensor.shape != wanted:
            self.notes.append(f"the position embedding of {_grid(tensor)} was interpolated to {_grid(wanted)} patches")
        return on_grid(tensor, wanted[2:])

    def _shortcuts(self) -> None:
        """ResNet's shortcuts in MONAI's two other forms: with a bias, and without any weights."""
        convolutions = [name for name in self._own if name.endswith("downsample.conv.weight")]
        bare = [name for name in convolutions if name not in self.names]
        for name in convolutions:
            mean = name.replace("conv.weight", "adn.N.running_mean")
            bias = self.names.get(name, "").removesuffix("weight") + "bias"
            if bias in self.state and name in self.names:
                self.filled[mean] = self.filled[mean] - self.state[bias].float()
                self.used.add(bias)
        if bare and len(bare) < len(convolutions):
            raise MisfitError(f"some shortcuts have weights there, and {bare[0]} has none")
        if bare:
            self.notes.append("shortcuts without weights were written as convolutions that hand the channels on")
        for name in bare:
            norm = name.replace("downsample.conv.weight", "downsample.adn.N")
            epsilon: float = self.network.get_submodule(norm).eps  # type: ignore[assignment]  # of a batch norm
            weight = torch.zeros_like(self._own[name])
            weight.flatten(2)[:, :, 0] = torch.eye(*weight.shape[:2])
            ones, zeros = torch.ones(len(weight)), torch.zeros(len(weight))
            self.filled |= {
                name: weight,
                f"{norm}.weight": ones * math.sqrt(1 + epsilon),
                f"{norm}.bias": zeros,
                f"{norm}.running_mean": zeros,
                f"{norm}.running_var": ones,
            }

    def _attention(self) -> None:
        bare = [name for name in self._own if name.endswith("attn.qkv.bias") and name not in self.names]
        if bare:
            self.notes.append("queries, keys and values have no bias there: it begins as zero")
            self.filled |= {name: torch.zeros_like(self._own[name]) for name in bare}

    def _differences(self) -> None:
        """Where the network computes otherwise than the one that the weights come from."""
        if self.layout.source == "medcam":
            return
        epsilon = next((module.eps for module in self.network.modules() if hasattr(module, "eps")), None)
        uneven = any(isinstance(module, nn.ConstantPad2d | nn.ConstantPad3d) for module in self.network.modules())
        if epsilon != self.layout.epsilon:
            self.notes.append(_difference(self.layout.source, f"norm_epsilon {self.layout.epsilon:g}"))
        if uneven != (self.layout.padding == "tensorflow"):
            self.notes.append(_difference(self.layout.source, f"{self.layout.padding} padding"))


def _difference(source: str, setting: str) -> str:
    return f"{source} computes with {setting}, this network does not: its features differ a little from the original's"


def _grid(shape: Tensor | torch.Size) -> str:
    return " x ".join(map(str, (shape.shape if isinstance(shape, Tensor) else shape)[2:]))
