"""Which layer is explained: by name, as a module, or "auto", the last spatial map before pooling."""

import math

from torch import nn

from medcam.errors import ExplainError
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._capture import Tap
from medcam.explainers._trace import Call, Trace
from medcam.plugins import near

NOT_A_MAP = ("Dropout", "Identity", "Adaptive", "Flatten", "Softmax", "Sigmoid")
"""Modules that only pass on, pool or squash the map before them."""


def find(model: nn.Module, trace: Trace, layer: str | nn.Module | Tap, axes: int) -> tuple[Tap, str]:
    """The tap that `layer` means, and a sentence about how it was chosen ("" where there is nothing to say).

    Args:
        axes: spatial axes of the input.

    Raises:
        ExplainError: there is no such layer, it is not used, or no layer has a map.
    """
    if isinstance(layer, Tap):
        return layer, ""
    if isinstance(layer, str) and layer == "auto":
        call = _last_map(trace, axes)
        return Tap(call.module, call.index), f'layer="auto" picked {call.module}, {_size(call, axes)}'
    name = _name(model, layer)
    calls = trace.of(name)
    if not calls:
        raise ExplainError("layer-not-reached", f"Layer {name!r} exists, but the forward pass never comes to it.")
    said = f"{name} is called {len(calls)} times; the last call is explained" if len(calls) > 1 else ""
    return Tap(name, calls[-1].index), said


def _name(model: nn.Module, layer: str | nn.Module) -> str:
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    if isinstance(layer, nn.Module):
        if layer not in names:
            raise ExplainError("unknown-layer", f"The {type(layer).__name__} given as layer is not part of the model.")
        return names[layer]
    known = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    if layer not in known:
        raise ExplainError("unknown-layer", f"The model has no layer {layer!r}. {near(layer, known)}")
    return names[model.get_submodule(layer)]


def _last_map(trace: Trace, axes: int) -> Call:
    """The last map; of a network that gives a map itself, the last at its coarsest, the bottleneck."""
    maps = (call for call in reversed(trace.calls) if call.module and _is_map(call, axes))
    last = next(maps, None)
    if last is None:
        raise ExplainError("no-spatial-axes", "No layer of this model gives a map; name one with layer=.")
    if math.prod(trace.output_shape[2:]) > 1:
        return min([last, *maps], key=_cells)  # of equally coarse ones the first here, which is the last to run
    return last


def _is_map(call: Call, axes: int) -> bool:
    if call.kind.startswith(NOT_A_MAP):
        return False
    if call.layout is None:
        return len(call.shape) == axes + 2 and math.prod(call.shape[2:]) > 1
    arrangement = Arrangement(call.layout, axes)
    return arrangement.valid and math.prod(part.size for part in arrangement.cell_parts) > 1


def _cells(call: Call) -> int:
    if call.layout is None:
        return math.prod(call.shape[2:])
    return math.prod(part.size for dim in call.layout for part in dim if part.placed)


def _size(call: Call, axes: int) -> str:
    cells = call.shape[2:] if call.layout is None else [part.size for part in Arrangement(call.layout, axes).cell_parts]
    return f"{' x '.join(map(str, cells))} cells"
