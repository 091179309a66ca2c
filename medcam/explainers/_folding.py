"""Batch norms folded into the convolutions before them, in a copy of a network that is not trained any more.

Found in a forward pass of shapes: a convolution whose output nothing but one batch norm ever sees.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from medcam.explainers._session import each_tensor, undisturbed
from medcam.explainers._shapes import blank, run

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

Pair = tuple[str, str]
"""The names of a convolution and of the batch norm behind it."""


def pairs(model: nn.Module, x: Tensor, watched: Sequence[str]) -> list[Pair]:
    """What may be folded without anybody noticing but by rounding.

    Args:
        x: an input (B, C, *space); only its shape counts.
        watched: modules whose outputs and inputs are looked at, so that they have to stay what they are.

    Raises:
        Exception: whatever the model raises if it cannot run on shapes alone.
    """
    shapes_only = blank((2, *x.shape[1:]), x)
    watch = _Watch()
    with undisturbed(model, x.device), torch.no_grad(), ExitStack() as hooks:
        for name, module in model.named_modules():
            if type(module) in CONVOLUTIONS and _untouched(module):
                hooks.callback(module.register_forward_hook(watch.made_by(name)).remove)
            elif isinstance(module, _BatchNorm) and _untouched(module) and module.running_mean is not None:
                hooks.callback(module.register_forward_pre_hook(watch.enters(name)).remove)
        for name in watched:
            module = model.get_submodule(name)
            hooks.callback(module.register_forward_pre_hook(lambda m, args: watch.look(args)).remove)
            hooks.callback(module.register_forward_hook(lambda m, args, output: watch.look(output)).remove)
        hooks.enter_context(watch)
        watch.look(model(shapes_only))
    names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return [
        (convolution, norm)
        for norm, convolution in watch.behind.items()
        if watch.uses[convolution] == watch.calls[convolution] == watch.calls[norm] == 1
        and names[id(model.get_submodule(convolution))] == names[id(model.get_submodule(norm))] == 1
    ]


def fold(model: nn.Module, found: Sequence[Pair]) -> None:
    """Change `model` itself: the convolutions do the work of their batch norms, which only pass on."""
    for convolution_name, norm_name in found:
        convolution: Any = model.get_submodule(convolution_name)
        norm: Any = model.get_submodule(norm_name)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, own = norm_name.rpartition(".")
        setattr(model.get_submodule(parent), own, nn.Identity())


def _untouched(module: nn.Module) -> bool:
    """Whether nobody hooks it: hooks would see other values, or change them."""
    return not module._forward_hooks and not module._forward_pre_hooks


class _Watch(TorchDispatchMode):
    """Counts by how many operations the output of each convolution is seen, on tensors without values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self._made = WeakTensorKeyDictionary()
        self.uses: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.behind: dict[str, str] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; saying so spares the import of the compiler (three seconds)."""
        return False

    def made_by(self, name: str) -> Any:
        """A hook that notes a convolution's output."""

        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            self.calls[name] += 1
            self._made[output] = name

        return hook

    def enters(self, name: str) -> Any:
        """A hook that notes which convolution's output goes into a batch norm."""

        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.calls[name] += 1
            if args[0] in self._made:
                self.behind[name] = self._made[args[0]]

        return hook

    def look(self, value: object) -> None:
        """Count what is seen other than by an operation."""
        each_tensor(value, self._count)

    def _count(self, tensor: Tensor) -> Tensor:
        if tensor in self._made:
            self.uses[self._made[tensor]] += 1
        return tensor

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.look(list(args))
        self.look(kwargs or {})
        out = run(func, args, kwargs or {})
        return out if func._schema.is_mutable else each_tensor(out, self._another)

    def _another(self, tensor: Tensor) -> Tensor:
        """Without values a result may be the very tensor that went in."""
        return tensor.expand(tensor.shape) if tensor in self._made else tensor
