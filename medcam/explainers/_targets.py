"""What is explained: one scalar per sample and target, taken from whatever the model returns.

Explained is always the raw output (logit): after a softmax or sigmoid other classes leak in and gradients vanish.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from medcam.errors import ExplainError
from medcam.explainers._session import first_tensor

Head = Literal["auto", "softmax", "sigmoid", "single-logit", "regression", "dense"]
Target = str | int | Sequence[int] | Tensor | Callable[[Any], Tensor]
"""In words: "predicted", "all", one class, one class per sample, (B, K) classes, or output -> scalar per sample."""

OUTPUTS = ("logits", "out", "output", "pred")
"""Keys looked for in a model that returns a dict; else, as in a tuple, its first tensor is explained."""

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True)
class Targets:
    """The explained scalars (B, K), still in the graph, with the class of each (B, K) and its name."""

    scalars: Tensor
    classes: tuple[tuple[int | None, ...], ...]
    head: Head
    notes: tuple[str, ...] = ()
    own: Callable[[Any], Tensor] | None = None
    """The callable that was given as target."""
    regions: Tensor | None = None
    """Of a dense head: (B, C, *space), the cells over which each class is summed."""

    @property
    def again(self) -> Target:
        """What to ask for to explain the same targets of another output."""
        return self.own or torch.tensor(self.classes)

    def of(self, output: Any, samples: Tensor) -> Tensor:
        """(N, K): the same scalars of another output, whose rows stand for `samples` (N,) of the explained batch.

        A dense head is summed over the cells that were predicted for the sample as it was explained.
        """
        if self.own is not None:
            return self.own(output).float()[:, None]
        logits = logits_of(output).float()
        chosen = torch.tensor(self.classes, device=logits.device)[samples]
        regions = None if self.regions is None else self.regions[samples]
        return _scalars(logits, chosen, self.head, regions)

    def detached(self) -> "Targets":
        """Without the graph behind the scalars."""
        return replace(self, scalars=self.scalars.detach())

    def name(self, sample: int, target: int) -> str:
        """What a target is called where nobody gave it a better name."""
        index = self.classes[sample][target]
        if index is None:
            return "own target"
        return f"output {index}" if self.head == "regression" else f"class {index}"


def resolve(output: Any, batch: int, targets: Target, head: Head = "auto") -> Targets:
    """Scalars for `targets` from the model's output.

    Heads: "single-logit" is one logit z per sample, where class 1 is z and class 0 is -z; "dense" is (B, C, *space),
    where a class stands for the sum of its logit over the cells that are predicted as it; "regression" is (B, C)
    numbers; "softmax" and "sigmoid" are (B, C) logits.

    Raises:
        ExplainError: the output does not fit the head, or a target is out of range.
    """
    if callable(targets) and not isinstance(targets, Tensor):
        scalars = targets(output)
        if not isinstance(scalars, Tensor) or scalars.shape != (batch,):
            shape = tuple(scalars.shape) if isinstance(scalars, Tensor) else type(scalars).__name__
            raise ExplainError(
                "bad-target", f"A target callable returns one scalar per sample ({batch},), not {shape}."
            )
        return Targets(scalars.float()[:, None], ((None,),) * batch, head, own=targets)
    logits = logits_of(output)
    if logits.ndim < 2 or logits.shape[0] != batch:
        raise ExplainError("bad-output", f"The output {tuple(logits.shape)} does not begin with the {batch} samples.")
    head = _head(logits) if head == "auto" else head
    if (head == "dense") != (logits.ndim > 2):
        raise ExplainError("bad-output", f"An output {tuple(logits.shape)} does not fit the head {head!r}.")
    if head == "single-logit" and logits.shape[1] != 1:
        raise ExplainError("bad-output", f"A single-logit head gives one number per sample, not {logits.shape[1]}.")
    chosen = _classes(targets, logits, head).to(logits.device)
    count = 2 if _binary(logits, head) else logits.shape[1]
    if chosen.min() < 0 or chosen.max() >= count:
        raise ExplainError("bad-target", f"A target lies in 0 to {count - 1} for this head, not {chosen.tolist()}.")
    named = tuple(tuple(int(index) for index in row) for row in chosen.tolist())
    regions, notes = _summed_over(logits.detach(), chosen) if head == "dense" else (None, ())
    scalars = _scalars(logits.float(), chosen, head, regions)
    return Targets(scalars, named, head, (*notes, *_probabilities(logits, head)), regions=regions)


def logits_of(output: Any) -> Tensor:
    """The raw output (B, C) or (B, C, *space) in whatever the model returned."""
    if isinstance(output, dict):
        output = next((output[key] for key in OUTPUTS if key in output), output)
    tensor = first_tensor(output)
    if tensor is None:
        raise ExplainError("bad-output", f"The model returns {type(output).__name__} without a tensor of numbers.")
    return tensor[:, None] if tensor.ndim == 1 else tensor


def _head(logits: Tensor) -> Head:
    if logits.ndim > 2:
        return "dense"
    return "single-logit" if logits.shape[1] == 1 else "softmax"


def _binary(logits: Tensor, head: Head) -> bool:
    return head == "single-logit" or (head == "dense" and logits.shape[1] == 1)


def _classes(targets: Target, logits: Tensor, head: Head) -> Tensor:
    """Classes (B, K) as integers."""
    batch, count = logits.shape[:2]
    if isinstance(targets, str):
        if targets == "all":
            return torch.arange(2 if _binary(logits, head) else count).expand(batch, -1)
        if targets != "predicted":
            raise ExplainError("bad-target", f'Targets are "predicted", "all", numbers or a callable, not {targets!r}.')
        return _predicted(logits.detach(), head)
    if isinstance(targets, int) and not isinstance(targets, bool):
        return torch.full((batch, 1), targets)
    try:
        chosen = torch.as_tensor(targets).detach().cpu()
    except (TypeError, ValueError, RuntimeError):  # None, words, lists of unequal length
        chosen = torch.zeros(())
    chosen = chosen[:, None] if chosen.ndim == 1 else chosen
    if chosen.ndim != 2 or len(chosen) != batch or chosen.numel() == 0 or chosen.dtype not in INTEGERS:
        raise ExplainError("bad-target", f"Targets are whole numbers (B,) or (B, K) for {batch} samples.")
    return chosen.long()


def _predicted(logits: Tensor, head: Head) -> Tensor:
    if head == "dense":
        present = _regions(logits).flatten(2).sum(2)  # (B, C) cells predicted as each class
        if logits.shape[1] > 1:
            present[:, 0] = 0  # the background is not a finding
        return present.argmax(1, keepdim=True)
    if head == "single-logit":
        return (logits > 0).long()
    return logits.argmax(1, keepdim=True)


def _regions(logits: Tensor) -> Tensor:
    """Where each class (two, for a single channel) is predicted: (B, C, *space) of 0 and 1."""
    if logits.shape[1] == 1:
        return torch.cat([logits <= 0, logits > 0], dim=1).long()
    winner = logits.argmax(1, keepdim=True)
    return torch.zeros_like(logits, dtype=torch.long).scatter_(1, winner, 1)


def _summed_over(logits: Tensor, chosen: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """The cells (B, C, *space) over which each class is summed: those predicted as it, or all if there are none."""
    regions = _regions(logits)
    empty = regions.flatten(2).sum(2) == 0
    regions = regions.masked_fill(empty.reshape(*empty.shape, *[1] * (logits.ndim - 2)), 1)
    unseen = bool(empty.gather(1, chosen).any())
    said = ("nothing is predicted as a target class; its logit is summed over the whole output",) if unseen else ()
    return regions, said


def _scalars(logits: Tensor, chosen: Tensor, head: Head, regions: Tensor | None) -> Tensor:
    """(B, K) scalars of the chosen classes."""
    logits_of = torch.cat([-logits, logits], dim=1) if _binary(logits, head) else logits
    if regions is not None:
        logits_of = (logits_of * regions).flatten(2).sum(2)
    return logits_of.gather(1, chosen)


def _probabilities(logits: Tensor, head: Head) -> tuple[str, ...]:
    """A warning where the model seems to end with a softmax or sigmoid."""
    values = logits.detach().float()
    if head == "regression" or not bool(((values >= 0) & (values <= 1)).all()):
        return ()
    if logits.shape[1] > 1 and torch.allclose(values.sum(1), torch.ones_like(values[:, 0]), atol=1e-3):
        return ("the output looks like probabilities: explain the logits before the softmax instead",)
    return ()
