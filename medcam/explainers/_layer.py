"""Which layer is explained: by name, as a module, or "auto", the last spatial map before pooling.

Where that is a class map, a 1x1 convolution with one channel for each output, "auto" takes the features before it: they
hold the same evidence (more, if attention looks at them too), and are enough for methods that compare channels.
"""

import math

from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._blocks import blocks_of, tokens_read
from medcam.explainers._capture import Tap
from medcam.explainers._layout import spread
from medcam.explainers._session import each_tensor
from medcam.explainers._tail import slope
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
        call, why = _last_map(model, trace, axes)
        if _only_extras_read(model, trace, call, axes):
            call, why = _before_attention(trace, axes, call), ", before the last attention: behind it no patch is read"
        return Tap(call.module, call.index), f'layer="auto" picked {call.module}, {_size(call, axes)}{why}'
    name = _name(model, layer)
    calls = trace.of(name)
    if not calls:
        raise ExplainError("layer-not-reached", f"Layer {name!r} exists, but the forward pass never comes to it.")
    said = [f"{name} is called {len(calls)} times; the last call is explained"] if len(calls) > 1 else []
    if _only_extras_read(model, trace, calls[-1], axes):
        better = _before_attention(trace, axes, calls[-1]).module
        said.append(f"behind {name} only the class token is read, its patches have no gradient: explain {better}")
    return Tap(name, calls[-1].index), "; ".join(said)


def right_angled(activation: Tensor, gradient: Tensor) -> bool:
    """Whether the products (rows, C, *s) of both cancel in every cell."""
    product = activation * gradient
    return bool(product.sum(1).abs().amax() < 1e-3 * product.abs().sum(1).amax())


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


def _last_map(model: nn.Module, trace: Trace, axes: int) -> tuple[Call, str]:
    """The last map, and why it is not simply that; of a network that gives a map itself, the last at its coarsest."""
    maps = [call for call in reversed(trace.calls) if call.module and _is_map(call, axes)]
    if not maps:
        raise ExplainError("no-spatial-axes", "No layer of this model gives a map; name one with layer=.")
    if math.prod(trace.output_shape[2:]) > 1:
        return min(maps, key=_cells), ""  # of equally coarse ones the first here, which is the last to run
    maps, why = _without_class_map(model, trace, maps)
    if not any("LayerNorm" in call.kind for call in trace.calls):
        return maps[0], why
    return next((call for call in maps if not _normalised_away(model, trace, call, axes)), maps[0]), why


def _without_class_map(model: nn.Module, trace: Trace, maps: list[Call]) -> tuple[list[Call], str]:
    """The maps (last one first) from the features on that a class map is made of, if the last is one."""
    outputs = math.prod(trace.output_shape[1:])
    for position, call in enumerate(maps[:-1]):
        if _channels(call) != outputs:
            break
        before = maps[position + 1]
        if _pointwise(model, call) and _channels(before) > outputs and _cells(before) == _cells(call):
            return maps[position + 1 :], f", the features before the class map {call.module}"
    return maps, ""


def _pointwise(model: nn.Module, call: Call) -> bool:
    """Whether a call is a convolution with a kernel of one cell, or a linear layer."""
    module = model.get_submodule(call.module)
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        return math.prod((*module.kernel_size, *module.stride)) == 1
    return isinstance(module, nn.Linear)


def _normalised_away(model: nn.Module, trace: Trace, call: Call, axes: int) -> bool:
    """Whether activation times gradient adds up to nothing in every cell: a layer normalisation follows.

    To make a token larger changes nothing then, so that the gradient is at right angles to it.
    """
    found = slope(model, trace, call)
    if found is None or call.layout is None:
        return False
    noise, gradient = (Arrangement(call.layout, axes).rows(tensor).float() for tensor in found)
    return right_angled(noise, gradient)


def _only_extras_read(model: nn.Module, trace: Trace, call: Call, axes: int) -> bool:
    """Whether a map lies behind the last attention of a network that reads a class token there, and no patch."""
    if call.layout is None or not any(Arrangement(call.layout, axes).extras):
        return False
    try:
        blocks = blocks_of(trace)
    except ExplainError:
        return False
    if trace.calls.index(call) < blocks.blocks[-1].softmax.ended:
        return False
    read = tokens_read(model, trace, blocks)
    before, after = blocks.extras
    return read is not None and not bool(read[before : len(read) - after].any())


def _before_attention(trace: Trace, axes: int, otherwise: Call) -> Call:
    """The last map that goes into the last attention: of its block, the normalisation before."""
    softmax = blocks_of(trace).blocks[-1].softmax
    *outer, (module, index) = softmax.inside
    if trace.call(module, index).kind == "Softmax" and outer:
        module = outer[-1][0]
    earlier = reversed(trace.calls[: softmax.ended])
    inner = f"{module}."
    return next((call for call in earlier if _is_map(call, axes) and not call.module.startswith(inner)), otherwise)


def _is_map(call: Call, axes: int) -> bool:
    if call.kind.startswith(NOT_A_MAP) or _several(call):
        return False
    if call.layout is None:
        return len(call.shape) == axes + 2 and math.prod(call.shape[2:]) > 1
    arrangement = Arrangement(call.layout, axes)
    return arrangement.valid and math.prod(part.size for part in arrangement.cell_parts) > 1


def _several(call: Call) -> bool:
    """Whether a module returns several tensors, as a backbone that gives the maps of all its stages."""
    found: list[Tensor] = []
    each_tensor(call.blank, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return sum(tensor.is_floating_point() for tensor in found) > 1


def _cells(call: Call) -> int:
    if call.layout is None:
        return math.prod(call.shape[2:])
    return math.prod(part.size for dim in call.layout for part in spread(dim) if part.placed)


def _channels(call: Call) -> int:
    if call.layout is None:
        return call.shape[1]
    return math.prod(part.size for dim in call.layout[1:] for part in spread(dim) if not part.placed)


def _size(call: Call, axes: int) -> str:
    cells = call.shape[2:] if call.layout is None else [part.size for part in Arrangement(call.layout, axes).cell_parts]
    return f"{' x '.join(map(str, cells))} cells"
