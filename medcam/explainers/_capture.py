"""Capture once, explain many: one forward pass that records only the tail behind the explained layer.

At the first tap reached the activation is detached, so that nothing of the trunk's graph exists; the tail from there
to the output is recorded once and serves every target of every method.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._session import first_tensor, with_first_tensor

Role = Literal["output", "input"]


@dataclass(frozen=True)
class Tap:
    """A place in a network: what the `call`-th call (from 0) of the module of that name gives or gets."""

    module: str
    call: int = 0
    role: Role = "output"

    def __str__(self) -> str:
        name = self.module or "the model"
        return f"{'input of ' if self.role == 'input' else ''}{name}{f' (call {self.call + 1})' if self.call else ''}"


class Capture:
    """Activations at the taps, the output, and gradients between them; use inside of `undisturbed`.

    Attributes:
        output: what the model returned, its tail recorded for differentiation.
        cut: the tap that was reached first, where the graph begins.
    """

    def __init__(self, model: nn.Module, x: Tensor, taps: Sequence[Tap]) -> None:
        self.model = model
        self.x = x.clone() if x.is_inference() else x.detach()
        self._activations: dict[Tap, Tensor] = {}
        with tapped(model, taps, self._take):
            self.output: Any = model(self.x)
        missing = [tap for tap in taps if tap not in self._activations]
        if missing:
            raise ExplainError("layer-not-reached", f"The forward pass never came to {missing[0]}.")
        self.cut = next(iter(self._activations))

    def _take(self, tap: Tap, tensor: Tensor) -> Tensor:
        if not self._activations:
            tensor = tensor.clone() if tensor.is_inference() else tensor.detach()
            tensor.requires_grad_()
            torch.set_grad_enabled(True)  # the model itself may have switched it off
        self._activations[tap] = tensor
        return tensor.clone()  # in-place operations behind the tap must not reach what was captured

    def activation(self, tap: Tap) -> Tensor:
        """What was seen at a tap, as the module gave it, without its graph."""
        return self._activations[tap].detach()

    def gradient(self, scalars: Tensor, tap: Tap) -> Tensor:
        """Of the sum of `scalars` with respect to an activation, shaped like it; zeros where nothing depends on it.

        Raises:
            ExplainError: the scalars were computed without a graph.
        """
        if not scalars.requires_grad:
            raise ExplainError(
                "no-gradient",
                f"No gradient reaches {tap}: the model computes its output without a graph, or before this layer.",
            )
        (gradient,) = torch.autograd.grad(scalars.sum(), self._activations[tap], retain_graph=True, allow_unused=True)
        return torch.zeros_like(self._activations[tap]) if gradient is None else gradient

    def forward(self, inputs: Tensor, budget: int) -> Tensor:
        """Outputs for `inputs` (N, C, *space), at most `budget` at a time, without a graph."""
        with torch.no_grad():
            outputs = [first_tensor(self.model(part)) for part in torch.split(inputs, budget)]
        return torch.cat([output for output in outputs if output is not None])


@contextmanager
def tapped(model: nn.Module, taps: Sequence[Tap], take: Any) -> Iterator[None]:
    """Within, `take(tap, tensor)` is called at each tap and what it returns goes on in the tensor's place."""
    calls: Counter[str] = Counter()
    by_module: dict[str, list[Tap]] = {}
    for tap in taps:
        by_module.setdefault(tap.module, []).append(tap)

    def replaced(name: str, role: Role, call: int, value: Any) -> Any:
        for tap in by_module[name]:
            if tap.role == role and tap.call == call:
                tensor = first_tensor(value)
                if tensor is None:
                    raise ExplainError("no-spatial-axes", f"There is no floating-point tensor at {tap}.")
                value = with_first_tensor(value, take(tap, tensor))
        return value

    def entering(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> Any:
            calls[name] += 1
            return replaced(name, "input", calls[name] - 1, args)

        return hook

    def leaving(name: str) -> Any:
        return lambda module, args, output: replaced(name, "output", calls[name] - 1, output)

    with ExitStack() as hooks:
        for name in by_module:
            module = model.get_submodule(name)
            hooks.callback(module.register_forward_pre_hook(entering(name)).remove)
            hooks.callback(module.register_forward_hook(leaving(name)).remove)
        yield
