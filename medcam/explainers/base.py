"""The contract of an explanation method: what it needs, what it costs, what its numbers mean, and one formula."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from medcam.explainers._capture import Capture, Tap
from medcam.findings import Unit


@dataclass
class View:
    """What a method sees of a captured forward pass: rows of maps in float32, and gradients of each target.

    A row is what is convolved on its own: a sample, or a frame of a clip whose frames are folded into the batch.
    """

    capture: Capture
    tap: Tap
    scalars: Tensor
    """(B, K): the explained scalar of each sample and target."""
    rows: Callable[[Tensor], Tensor]
    _gradients: dict[int, Tensor] = field(default_factory=dict)

    @property
    def activation(self) -> Tensor:
        """(rows, C, *s)."""
        return self.rows(self.capture.activation(self.tap)).float()

    def gradient(self, target: int) -> Tensor:
        """(rows, C, *s): the gradient of every sample's own scalar for target k; computed once for all methods."""
        if target not in self._gradients:
            gradient = self.capture.gradient(self.scalars[:, target], self.tap)
            self._gradients[target] = self.rows(gradient).float()
        return self._gradients[target]

    def logits(self, target: int) -> Tensor:
        """(rows, *s): logits that each cell adds to the score of target k, to first order (gradient x activation)."""
        return (self.activation * self.gradient(target)).sum(dim=1)


class Method(ABC):
    """One explanation method. Instances hold settings only."""

    name: ClassVar[str]
    paper: ClassVar[str]
    unit: ClassVar[Unit]
    signed: ClassVar[bool]
    """Whether negative evidence counts against the target; else evidence is at least zero."""
    class_specific: ClassVar[bool] = True
    forwards: ClassVar[float] = 1
    """Cost in forward passes, the captured one included."""
    tail_backwards: ClassVar[float] = 1
    """Cost per target in backward passes from the output down to the layer."""

    def taps(self, layer: Tap) -> tuple[Tap, ...]:
        """Where the network must be tapped to explain `layer`."""
        return (layer,)

    @abstractmethod
    def maps(self, view: View) -> Tensor:
        """Raw maps (rows, K, *s) for the K targets."""


class GradientMethod(Method):
    """A method that combines an activation with the gradient of the target there, position by position."""

    def maps(self, view: View) -> Tensor:
        activation = view.activation
        targets = range(view.scalars.shape[1])
        return torch.stack([self.formula(activation, view.gradient(target)) for target in targets], dim=1)

    @abstractmethod
    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(rows, C, *s) twice to the raw map (rows, *s), as in the paper."""
