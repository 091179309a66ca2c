"""Work on somebody's model and leave it as it was found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of torch.compile and parallel wrappers: their copies cannot be hooked."""
    while True:
        inner = getattr(model, "_orig_mod", None)  # torch.compile
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, frozen parameters, plain eager calls; all of it and the random state put back at the end.

    Frozen parameters, rather than `no_grad`, keep the trunk's graph from being recorded, because a model may itself
    leave a `no_grad` block half way and would then switch recording off again.
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    compiled = [(module, module._compiled_call_impl) for module in modules if module._compiled_call_impl is not None]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
        try:
            for module in modules:  # not .eval(): some models override it to do more
                if module.training:  # else nothing is set: a large network has a thousand modules
                    module.training = False
            for module, _ in compiled:
                module._compiled_call_impl = None
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                if module.training != mode:
                    module.training = mode
            for module, call in compiled:
                module._compiled_call_impl = call
            for parameter in trainable:
                parameter.requires_grad_(True)


def first_tensor(value: object) -> Tensor | None:
    """The first floating-point tensor in whatever a module takes or returns."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return next((found for found in map(first_tensor, items) if found is not None), None)


def each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same value with every tensor in its tuples, lists and dicts changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        pairs = {key: each_tensor(item, change) for key, item in value.items()}
        return pairs if type(value) is dict else type(value)(**pairs)  # model outputs that are dataclasses and dicts
    if isinstance(value, tuple | list):
        items = [each_tensor(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)  # a named tuple
    return value


def with_first_tensor(value: Any, tensor: Tensor) -> Any:
    """The same value with its first floating-point tensor replaced."""
    first = first_tensor(value)
    return each_tensor(value, lambda item: tensor if item is first else item)
