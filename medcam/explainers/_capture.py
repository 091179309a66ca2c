"""Capture once, explain many: one forward pass that records only the tail behind the explained layer.

At the first tap reached the activation is detached, so that nothing of the trunk's graph exists; the tail from there
to the output is recorded once and serves every target of every method.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._attention import Watch
from medcam.explainers._replay import ReplayError, Script, replaying
from medcam.explainers._session import first_tensor, with_first_tensor
from medcam.explainers._trace import trace

Role = Literal["output", "input", "attention"]


@dataclass(frozen=True)
class Tap:
    """A place in a network: what the `call`-th call (from 0) of the module of that name gives or gets.

    With the role "attention" it is the `call`-th softmax of the whole model, which runs in that module.
    """

    module: str
    call: int = 0
    role: Role = "output"

    def __str__(self) -> str:
        name = self.module or "the model"
        if self.role == "attention":
            return f"attention of {name}"
        return f"{'input of ' if self.role == 'input' else ''}{name}{f' (call {self.call + 1})' if self.call else ''}"


class Capture:
    """Activations at the taps, the output, and gradients between them; use inside of `undisturbed`.

    Attributes:
        output: what the model returned, its tail recorded for differentiation.
    """

    def __init__(
        self, model: nn.Module, x: Tensor, taps: Sequence[Tap], run: Callable[[Tensor], Any] | None = None
    ) -> None:
        self.model = model
        self.x = x.clone() if x.is_inference() else x.detach()
        self._activations: dict[Tap, Tensor] = {}
        self._tail_only: bool | None = None
        self._script: Script | None = None
        with tapped(model, taps, self._take):
            self.output: Any = (run or model)(self.x)
        missing = [tap for tap in taps if tap not in self._activations]
        if missing:
            raise ExplainError("layer-not-reached", f"The forward pass never came to {missing[0]}.")

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

    def recorded(self, tap: Tap) -> Tensor:
        """The same in its graph."""
        return self._activations[tap]

    def behind(self, tap: Tap) -> "Capture":
        """The same pass, cut at one of its taps: what is replayed is the tail behind that one."""
        later = copy.copy(self)
        later._activations = {tap: self._activations[tap], **self._activations}
        later._tail_only = later._script = None
        return later

    @property
    def cut(self) -> Tap:
        """The tap that was reached first: there the graph begins."""
        return next(iter(self._activations))

    @property
    def rows_per_sample(self) -> int:
        """How many rows of the activation at the cut belong to a sample: the frames of a folded clip, else 1."""
        return len(self._activations[self.cut]) // len(self.x)

    @property
    def batch_first(self) -> bool:
        """Whether the rows at the cut are sorted by sample, so that replays may take any number of samples."""
        cut = self.cut
        return self.rows_per_sample == 1 or trace(self.model, self.x).call(cut.module, cut.call).batch_first

    def gradient(self, scalars: Tensor, tap: Tap) -> Tensor:
        """Of the sum of `scalars` with respect to an activation, shaped like it; zeros where nothing depends on it.

        Raises:
            ExplainError: the scalars were computed without a graph.
        """
        return self.gradients(scalars, [tap])[0]

    def gradients(self, scalars: Tensor, taps: Sequence[Tap]) -> list[Tensor]:
        """The same at several taps, in one backward pass."""
        if not scalars.requires_grad:
            raise ExplainError(
                "no-gradient",
                f"No gradient reaches {taps[0]}: the model computes its output without a graph, or before this layer.",
            )
        seen = [self._activations[tap] for tap in taps]
        found = torch.autograd.grad(scalars.sum(), seen, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(seen, found, strict=True)]

    def replay(self, activation: Tensor, taps: Sequence[Tap] = (), samples: Tensor | None = None) -> "Capture":
        """Run the tail from another activation at the cut, with taps behind it (the cut itself included).

        Args:
            activation: shaped as at the cut, for as many samples as wanted.
            samples: for each of them, which sample of `x` it belongs to; by default `x` over and over again.

        The first replay checks itself against the captured output. Where values pass the cut on another way, the
        whole model runs with the activation put in its place, and `check` says so.

        Raises:
            ExplainError: another number of samples than captured, where frames are folded before the samples.
        """
        if samples is None:
            samples = torch.arange(len(activation) // self.rows_per_sample, device=self.x.device) % len(self.x)
        if len(samples) != len(self.x) and not self.batch_first:
            raise ExplainError("no-replay", f"At {self.cut} frames come before samples: replay {len(self.x)} samples.")
        if self.cut.role == "attention":
            raise ExplainError("no-replay", f"The tail behind {self.cut} cannot run alone; see `behind`.")
        self.check()
        return self._replayed(activation, taps, samples)

    def check(self) -> bool:
        """Whether the tail alone, run from what was captured, gives what the model gave.

        The first replay asks by itself; call it before where something is about to disturb the model.
        """
        if self._tail_only is None:
            self._tail_only = self._gives_the_same()
        return self._tail_only

    def tail(self, activation: Tensor, samples: Tensor | None = None) -> Any:
        """The model's output for another activation at the cut: see `replay`."""
        return self.replay(activation, (), samples).output

    def _gives_the_same(self) -> bool:
        self._tail_only = True
        try:
            with torch.no_grad():
                again = self._replayed(self.activation(self.cut), (), torch.arange(len(self.x))).output
        except (ReplayError, RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            return False  # a blank was used in a way that blanks do not stand
        mine, theirs = first_tensor(again), first_tensor(self.output)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            return False
        scale = float(theirs.detach().abs().max())
        return bool(torch.allclose(mine.float(), theirs.detach().float(), rtol=1e-3, atol=1e-4 * scale))

    def _replayed(self, activation: Tensor, taps: Sequence[Tap], samples: Tensor) -> "Capture":
        cut = self.cut
        if not self._tail_only:

            def full(x: Tensor) -> Any:
                with tapped(self.model, [cut], lambda tap, tensor: activation.clone(), first=True):
                    return self.model(x)

            return Capture(self.model, self.x[samples], taps, full)
        if self._script is None:
            self._script = Script.of(trace(self.model, self.x), cut.module, cut.call)
        blank = self.x.new_full((), float("nan")).expand(len(samples), *self.x.shape[1:])
        with replaying(self.model, self._script, activation, cut.role == "input", len(samples)):
            return Capture(self.model, blank, taps)

    def forward(self, inputs: Tensor, budget: int) -> Tensor:
        """Outputs for `inputs` (N, C, *space), at most `budget` at a time, without a graph."""
        with torch.no_grad():
            outputs = [first_tensor(self.model(part)) for part in torch.split(inputs, budget)]
        return torch.cat([output for output in outputs if output is not None])


@contextmanager
def tapped(
    model: nn.Module, taps: Sequence[Tap], take: Callable[[Tap, Tensor], Tensor], *, first: bool = False
) -> Iterator[None]:
    """Within, `take(tap, tensor)` is called at each tap and what it returns goes on in the tensor's place.

    With `first` it is called before any hook that is there already.
    """
    matrices = {tap.call: tap for tap in taps if tap.role == "attention"}
    with ExitStack() as stack:
        stack.enter_context(_hooked(model, [tap for tap in taps if tap.role != "attention"], take, first))
        if matrices:
            stack.enter_context(Watch(lambda i, matrix: take(matrices[i], matrix) if i in matrices else matrix))
        yield


@contextmanager
def _hooked(
    model: nn.Module, taps: Sequence[Tap], take: Callable[[Tap, Tensor], Tensor], first: bool
) -> Iterator[None]:
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
            hooks.callback(module.register_forward_pre_hook(entering(name), prepend=first).remove)
            hooks.callback(module.register_forward_hook(leaving(name), prepend=first).remove)
        yield
