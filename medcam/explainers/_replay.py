"""Run only the tail of a model behind a tap: modules before the cut are answered from a tape of blank outputs.

The tape holds shapes only. Blanks are NaN, so where a value from before the cut reaches the output by another way
(a skip connection across the cut) the result shows it, and the caller falls back to the full forward pass.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medcam.explainers._session import each_tensor, with_first_tensor
from medcam.explainers._trace import Call, Trace


class ReplayError(Exception):
    """The model took another way than in its trace."""


@dataclass(frozen=True)
class Script:
    """What is called on the way to the cut, outermost modules only: entered if the cut lies inside, else answered."""

    steps: tuple[tuple[Call, bool], ...]
    """Calls in the order in which they begin, and whether they are entered."""
    cut: Call
    silent: frozenset[str]
    """Modules that are answered whenever they are called: their hooks, which would see blanks, are left out."""
    batch: int
    """Samples in the trace, by which the blanks' shapes are scaled."""

    @classmethod
    def of(cls, trace: Trace, module: str, index: int) -> "Script":
        """The script up to one call of one module."""
        cut = trace.call(module, index)
        steps: list[tuple[int, Call, bool]] = []
        for position, call in enumerate(trace.calls):
            if position < cut.began:
                steps = [step for step in steps if step[1].began < call.began]  # what it held is answered with it
                steps.append((position, call, False))
            elif call.module and call.began <= cut.began and position > trace.calls.index(cut):
                steps.append((position, call, True))
        # an outer call begins before what it holds: of calls that began together, the one that ends last
        steps.sort(key=lambda step: (step[1].began, -step[0]))
        answered = Counter(call.module for _, call, entered in steps if not entered)
        silent = frozenset(name for name, count in answered.items() if count == len(trace.of(name)) and name != module)
        return cls(tuple((call, entered) for _, call, entered in steps), cut, silent, trace.batch)


@contextmanager
def replaying(model: nn.Module, script: Script, activation: Tensor, at_input: bool, samples: int) -> Iterator[None]:
    """Within, calling the model runs the tail only, from `activation` on."""
    player = _Player(script, activation, at_input, samples)
    with ExitStack() as restored:
        for name in {call.module for call, _ in script.steps} | {script.cut.module}:
            module = model.get_submodule(name)
            restored.callback(_put_back, module, vars(module).get("forward"))
            if name in script.silent:
                restored.enter_context(_without_hooks(module))
            module.forward = player.stand_in(name, module.forward)
        yield


class _Player:
    """Goes through a script, one step for each call of a module, and leaves all calls behind the cut alone."""

    def __init__(self, script: Script, activation: Tensor, at_input: bool, samples: int) -> None:
        self.script, self.activation, self.at_input, self.samples = script, activation, at_input, samples
        self.position = 0

    def stand_in(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        """What takes the place of a module's `forward`."""

        def answer(*args: Any, **kwargs: Any) -> Any:
            steps, cut, at = self.script.steps, self.script.cut, self.position
            if at > len(steps):
                return forward(*args, **kwargs)
            expected = steps[at][0] if at < len(steps) else cut
            if name != expected.module:
                raise ReplayError(f"{name} was called where {expected.module} was expected")
            self.position += 1
            if expected is cut and self.at_input:
                args, kwargs = with_first_tensor((args, kwargs), self.activation)
                return forward(*args, **kwargs)
            if expected is cut:
                return with_first_tensor(each_tensor(cut.blank, self._blank), self.activation)
            return forward(*args, **kwargs) if steps[at][1] else each_tensor(expected.blank, self._blank)

        return answer

    def _blank(self, tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        if shape and shape[0] % self.script.batch == 0:
            shape[0] = shape[0] // self.script.batch * self.samples
        value = float("nan") if tensor.is_floating_point() else 0
        return torch.full((1,) * len(shape), value, dtype=tensor.dtype, device=self.activation.device).expand(shape)


@contextmanager
def _without_hooks(module: nn.Module) -> Iterator[None]:
    before, after = module._forward_pre_hooks, module._forward_hooks
    module._forward_pre_hooks, module._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        module._forward_pre_hooks, module._forward_hooks = before, after


def _put_back(module: nn.Module, own: Callable[..., Any] | None) -> None:
    if own is None:
        del module.forward  # the class's own is seen again
    else:
        module.forward = own
