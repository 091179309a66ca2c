"""The contract of an explanation method: what it needs, what it costs, what its numbers mean, and one formula."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from medcam.explainers._alignment import Alignment, whole
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._cost import Cost
from medcam.explainers._targets import Targets
from medcam.explainers._trace import Trace
from medcam.findings import Unit

Family = Literal["gradient", "activation", "perturbation", "input gradient", "transformer"]
"""What a method looks at: gradients at a layer, its activation, other inputs, gradients of the input, attention."""

Tick = Callable[[int, int], None]
"""Called with how much of a long piece of work is done and how much there is."""


@dataclass
class View:
    """What a method sees of a captured forward pass: rows of maps in float32, and gradients of each target.

    A row is what is convolved on its own: a sample, or a frame of a clip whose frames are folded into the batch.
    """

    capture: Capture
    tap: Tap
    targets: Targets
    arrangement: Arrangement
    """Of the tapped activation."""
    alignment: Alignment
    trace: Trace
    budget: int = 16
    """Most samples in one forward pass beside the captured one."""
    tick: Tick = field(default=lambda done, total: None)
    _gradients: dict[tuple[int, Tap], Tensor] = field(default_factory=dict)

    @property
    def scalars(self) -> Tensor:
        """(B, K): the explained scalar of each sample and target, in the graph."""
        return self.targets.scalars

    @property
    def rows(self) -> Callable[[Tensor], Tensor]:
        """From a tensor as the tapped layer gives it to rows (rows, C, *s)."""
        return self.arrangement.rows

    @property
    def activation(self) -> Tensor:
        """(rows, C, *s)."""
        return self.rows(self.capture.activation(self.tap)).float()

    def gradient(self, target: int) -> Tensor:
        """(rows, C, *s): the gradient of every sample's own scalar for target k; computed once for all methods."""
        return self.rows(self.raw_gradient(target, self.tap)).float()

    def raw_gradient(self, target: int, tap: Tap) -> Tensor:
        """The same at any tap, shaped as its module gives it."""
        if (target, tap) not in self._gradients:
            self._gradients[target, tap] = self.capture.gradient(self.scalars[:, target], tap)
        return self._gradients[target, tap]

    def logits(self, target: int) -> Tensor:
        """(rows, *s): logits that each cell adds to the score of target k, to first order (gradient x activation)."""
        return (self.activation * self.gradient(target)).sum(dim=1)

    def scores(self, inputs: Tensor, samples: Tensor) -> Tensor:
        """(N, K): the explained scalars of other inputs (N, C, *space), without a graph, `budget` of them at a time.

        Args:
            samples: (N,) which sample of the batch each of them stands for.
        """
        return self._in_parts(lambda part, some: self.capture.model(part), inputs, samples)

    def tail_scores(self, activations: Tensor, samples: Tensor) -> Tensor:
        """(N, K): the explained scalars for other activations at the cut, running only the tail behind it."""
        return self._in_parts(self.capture.tail, activations, samples)

    def again(self, inputs: Tensor, samples: Tensor) -> "View":
        """The same layer and scalars in a new forward pass of other inputs (N, C, *space), with its own graph.

        Args:
            samples: (N,) which sample of the batch each of them stands for.
        """
        capture = Capture(self.capture.model, inputs, [self.tap])
        targets = replace(self.targets, scalars=self.targets.of(capture.output, samples))
        return View(capture, self.tap, targets, self.arrangement, self.alignment, self.trace)

    def _in_parts(self, run: Callable[[Tensor, Tensor], Any], values: Tensor, samples: Tensor) -> Tensor:
        rows = len(values) // len(samples)
        scores = []
        with torch.no_grad():
            for start in range(0, len(samples), self.budget):
                some = samples[start : start + self.budget]
                scores.append(self.targets.of(run(values[start * rows : (start + len(some)) * rows], some), some))
        return torch.cat(scores)


@dataclass(frozen=True)
class Located:
    """Evidence (B, K, *grid) and where its cells lie on the model's input."""

    evidence: Tensor
    alignment: Alignment
    notes: tuple[str, ...] = ()
    tap: Tap | None = None
    """What was looked at, where that is not the explained layer."""
    parts: Tensor | None = None
    """(B, K, parts, *grid): what the evidence is the sum of, where a method can tell."""


class Method(ABC):
    """One explanation method. Instances hold settings only."""

    name: str
    paper: str
    unit: Unit
    signed: bool
    """Whether negative evidence counts against the target; else evidence is at least zero."""
    class_specific: bool = True
    forwards: Cost = 1
    """Passes of an image through the whole network, the captured one included. Like all costs for one target, in the
    network's second explanation: what the first learns of it (how it is built, where cells lie) is kept."""
    tail_forwards: Cost = 0
    """Passes from what is looked at to the output; whole ones where values reach the output on another way, too."""
    tail_backwards: Cost = 1
    """Passes back from the output to what is looked at, those for the result's `logits` included."""
    family: Family = "gradient"
    scales: bool = True
    """Whether a logit ten times as large gives the same map up to scale."""
    replays: bool = True
    """Whether the tail behind the layer is all that is needed, so that dropout can be replayed."""

    def taps(self, layer: Tap, trace: Trace) -> tuple[Tap, ...]:
        """Where the network must be tapped to explain `layer`."""
        return (layer,)

    @abstractmethod
    def located(self, view: View) -> Located:
        """Raw evidence for the K targets, at its place."""


class LayerMethod(Method):
    """A method whose evidence lies on the cells of the explained layer, one map for each of its rows."""

    def located(self, view: View) -> Located:
        return Located(view.arrangement.evidence(self.maps(view), len(view.capture.x)), view.alignment)

    @abstractmethod
    def maps(self, view: View) -> Tensor:
        """Raw maps (rows, K, *s) for the K targets."""


class GradientMethod(LayerMethod):
    """A method that combines an activation with the gradient of the target there, position by position."""

    def maps(self, view: View) -> Tensor:
        activation = view.activation
        targets = range(view.scalars.shape[1])
        return torch.stack([self.formula(activation, view.gradient(target)) for target in targets], dim=1)

    @abstractmethod
    def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(rows, C, *s) twice to the raw map (rows, *s), as in the paper."""


class InputMethod(Method):
    """A method that looks at the model's input, not at a layer: its evidence lies on the input's own cells."""

    replays = False

    def taps(self, layer: Tap, trace: Trace) -> tuple[Tap, ...]:
        """None: the model itself is asked, again and again."""
        return ()

    def located(self, view: View) -> Located:
        evidence = self.maps(view)
        return Located(evidence, whole(evidence.shape[2:]))

    @abstractmethod
    def maps(self, view: View) -> Tensor:
        """Raw evidence (B, K, *space)."""
