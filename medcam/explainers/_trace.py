"""What a model does with shapes: every module call in order, and where the cells of its output lie on the input.

The model runs once on blanks, tensors that have shapes and no values, so that a trace costs milliseconds and no memory;
a model that cannot run on them is traced in a real forward pass of one sample.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from medcam.errors import ExplainError
from medcam.explainers._attention import Watch
from medcam.explainers._composition import compose
from medcam.explainers._layout import BATCH, Layout, of_input
from medcam.explainers._session import each_tensor, first_tensor, undisturbed
from medcam.explainers._shapes import blank, run


@dataclass(frozen=True)
class Call:
    """One call of one module: its name, the how-manieth call of it (from 0), and what went in and came out."""

    module: str
    index: int
    kind: str
    shape_in: tuple[int, ...]
    layout_in: Layout | None
    shape: tuple[int, ...]
    layout: Layout | None
    began: int
    """How many calls had ended when this one began."""
    blank: Any
    """What it returned, as blanks: shapes without values."""

    @property
    def batch_first(self) -> bool:
        """Whether the rows that go in are sorted by sample: a batch of n copies is then n times the rows."""
        return self.layout_in is not None and self.layout_in[0][0].source == BATCH


@dataclass(frozen=True)
class Softmax:
    """One softmax: the how-manieth (from 0), in which calls of modules it ran (outermost first), and what it gave."""

    index: int
    inside: tuple[tuple[str, int], ...]
    ended: int
    """How many calls had ended when it ran."""
    shape: tuple[int, ...]
    layout: Layout | None


@dataclass(frozen=True)
class Trace:
    """All module calls in the order in which they ended; `batch` is the number of samples that ran."""

    calls: tuple[Call, ...]
    output_shape: tuple[int, ...]
    batch: int
    softmaxes: tuple[Softmax, ...] = ()
    """Every softmax on the way, among them those of attention."""
    tanh: str = ""
    """The Tanh whose output is the model's."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of what the model was given."""
        return self.calls[-1].shape_in

    def of(self, module: str) -> list[Call]:
        """The calls of one module, first to last."""
        return [call for call in self.calls if call.module == module]

    def call(self, module: str, index: int) -> Call:
        """One call of one module.

        Raises:
            ExplainError: the forward pass never comes to it.
        """
        calls = self.of(module)
        if index >= len(calls):
            raise ExplainError("layer-not-reached", f"Call {index + 1} of layer {module!r} never happens.")
        return next(call for call in calls if call.index == index)


_known: "WeakKeyDictionary[nn.Module, dict[object, Trace]]" = WeakKeyDictionary()


def trace(model: nn.Module, x: Tensor) -> Trace:
    """The trace of `model` for inputs like `x` (B, C, *space); remembered while the model lives and keeps its shape."""
    key = (tuple(x.shape[1:]), x.dtype, _structure(model))
    traces = _known.setdefault(model, {})
    if key not in traces:
        traces[key] = _trace(model, x)
    return traces[key]


def _structure(model: nn.Module) -> tuple[object, ...]:
    """What decides about shapes: the modules and their strides, so that an edited model is traced anew."""
    facts = ("kernel_size", "stride", "padding", "dilation", "output_size")
    return tuple((id(m), *(str(m.__dict__[fact]) for fact in facts if fact in m.__dict__)) for m in model.modules())


def _trace(model: nn.Module, x: Tensor) -> Trace:
    with undisturbed(model, x.device):
        try:
            shapes_only = blank((2, *x.shape[1:]), x)
            with _recorded(model, shapes_only, values=False) as (calls, softmaxes, tanh):
                output = model(shapes_only)
        except Exception:  # it looked at values; if it is the model itself that is broken, the real run says so
            sample = x[:1].detach()
            with _recorded(model, sample, values=True) as (calls, softmaxes, tanh):
                output = model(sample)
            return Trace(tuple(calls), _shape(output), 1, tuple(softmaxes), _last(tanh, output))
    return Trace(tuple(calls), _shape(output), 2, tuple(softmaxes), _last(tanh, output))


def _last(tanh: list[tuple[str, Tensor]], output: object) -> str:
    """The one Tanh module, used once, that gave the model's output."""
    name = next((name for name, given in tanh if given is first_tensor(output)), "")
    return name if sum(other == name for other, _ in tanh) == 1 else ""


def _shape(value: object) -> tuple[int, ...]:
    tensor = first_tensor(value)
    return () if tensor is None else tuple(tensor.shape)


@contextmanager
def _recorded(
    model: nn.Module, x: Tensor, values: bool
) -> Iterator[tuple[list[Call], list[Softmax], list[tuple[str, Tensor]]]]:
    calls: list[Call] = []
    softmaxes: list[Softmax] = []
    tanh: list[tuple[str, Tensor]] = []
    counts: Counter[str] = Counter()
    tracker = _Tracker(x, values)

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> None:
        entered = first_tensor((args, kwargs))
        pending.append((_shape(entered), tracker.look(entered), counts[name], len(calls)))
        running.append((name, counts[name]))
        counts[name] += 1

    def after(module: nn.Module, args: object, kwargs: object, output: object, name: str) -> None:
        shape_in, layout_in, index, began = pending.pop()
        running.pop()
        left = first_tensor(output)
        if isinstance(module, nn.Tanh) and left is not None:
            tanh.append((name, left))
        calls.append(
            Call(
                module=name,
                index=index,
                kind=type(module).__name__,
                shape_in=shape_in,
                layout_in=layout_in,
                shape=_shape(left),
                layout=tracker.look(left),
                began=began,
                blank=each_tensor(output, lambda tensor: blank(tensor.shape, tensor)),
            )
        )

    def seen(index: int, matrix: Tensor) -> Tensor:
        softmaxes.append(Softmax(index, tuple(running), len(calls), tuple(matrix.shape), tracker.look(matrix)))
        return matrix

    pending: list[tuple[tuple[int, ...], Layout | None, int, int]] = []
    running: list[tuple[str, int]] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            enter, leave = _named(before, name), _named(after, name)
            hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            hooks.callback(module.register_forward_hook(leave, with_kwargs=True).remove)
        hooks.enter_context(tracker)
        hooks.enter_context(Watch(seen))
        yield calls, softmaxes, tanh


def _named(hook: Any, name: str) -> Any:
    return lambda *arguments: hook(*arguments, name)


class _Tracker(TorchDispatchMode):
    """Follows the layout of every tensor that depends on the input."""

    def __init__(self, x: Tensor, values: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self._values = values
        self._layouts = WeakTensorKeyDictionary()
        self._layouts[x] = of_input(x.shape)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; saying so spares the import of the compiler (three seconds)."""
        return False

    def look(self, tensor: Any) -> Layout | None:
        """The layout of a tensor; None where it has none or it was lost."""
        if not isinstance(tensor, Tensor):
            return None
        layout: Layout | None = self._layouts.get(tensor)
        return layout

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = [tensor for tensor in _tensors(args) if tensor in self._layouts]
        if not inputs:
            return func(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {})) if self._values else run(func, args, kwargs or {})
        name = str(func.overloadpacket.__name__)
        if name.startswith("new_") or name.endswith(("zeros_like", "ones_like", "full_like", "empty_like")):
            return out  # as the input in kind and size, with nothing of what is in it
        lost = any(self._layouts[tensor] is None for tensor in inputs)
        for tensor in _tensors((out,)):
            self._layouts[tensor] = None if lost else compose(func, args, tensor, self.look)
            base = tensor._base
            if func._schema.is_mutable and base is not None and base not in self._layouts:
                self._layouts[base] = None  # a part of a blank tensor was filled in
        return out


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
