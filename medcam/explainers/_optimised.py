"""A faster copy of a network for explaining: batch norms folded, channels last, the trunk in bfloat16 where that gains.

All of it happens before the explained layer. There the activation is put back into float32 and the usual order of
memory, so that gradients are what they always are. A copy is checked against its original on the first image, which
tells by how much it deviates; one that deviates too much, or does not run, is not used.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from medcam.explainers._arrangement import Arrangement
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._folding import CONVOLUTIONS, fold, pairs
from medcam.explainers._session import each_tensor, undisturbed
from medcam.explainers._targets import logits_of
from medcam.explainers._trace import Trace
from medcam.explainers.base import Method

MOST = {True: 0.05, False: 1e-3}
"""By whether there are 16 bits: greatest deviation of a cell, in shares of the strongest one."""
ORDERS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the dimensions of a tensor."""
FAMILIES = ("gradient", "activation", "perturbation")
"""Of methods that look at a network from one layer on, or only at what it says."""


@dataclass(frozen=True)
class Optimised:
    """A network to explain in the place of another, and what is to be said about it."""

    model: nn.Module
    note: str
    last: bool = False

    def input(self, x: Tensor) -> Tensor:
        """`x` in the order of memory that suits it."""
        return x.contiguous(memory_format=ORDERS[x.ndim]) if self.last else x


@dataclass
class _Copies:
    """Of one network as it was when they were made."""

    state: object
    by_key: dict[object, Optimised] = field(default_factory=dict)


_known: "WeakKeyDictionary[nn.Module, _Copies]" = WeakKeyDictionary()


def optimised(
    model: nn.Module, x: Tensor, methods: Sequence[Method], tap: Tap, traced: Trace, arrangement: Arrangement
) -> Optimised:
    """The fast copy of `model` for these methods at this layer, or the model itself with the reason why.

    The copy is kept while the model lives, and made anew when its weights or modules change.

    Args:
        x: (B, C, *space); the copy is checked on the first image.
        arrangement: of the activation at the tap.
    """
    inner = {needed for one in methods for needed in one.taps(tap, traced)}
    if any(one.family not in FAMILIES for one in methods) or not inner <= {tap}:
        return Optimised(model, "not optimised: a method looks at more of the network than one layer")
    if inner and len(traced.of(tap.module)) > 1:
        return Optimised(model, "not optimised: the layer is used more than once")
    lowered = bool(inner) and x.dtype == torch.float32 and gains(x.device)
    lowered = lowered and all(one.family != "perturbation" for one in methods)  # small differences of scores
    key = (tap if inner else None, lowered, tuple(x.shape[1:]), x.dtype)
    state = _state(model)
    copies = _known.get(model)
    if copies is None or copies.state != state:
        copies = _known[model] = _Copies(state)
    if key not in copies.by_key:
        copies.by_key[key] = _best(model, x[:1], tap if inner else None, traced, arrangement, lowered)
    return copies.by_key[key]


def gains(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are faster here than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _best(
    model: nn.Module, image: Tensor, tap: Tap | None, traced: Trace, arrangement: Arrangement, lowered: bool
) -> Optimised:
    reason = ""
    for bits_16, last in product((True, False) if lowered else (False,), (True, False)):
        try:
            made = _copy(model, image, tap, traced, bits_16, last)
            logits, cells = _deviation(model, made, image, tap, arrangement)
        except Exception as error:  # whatever somebody's network does not stand: views of its maps, other precisions
            reason = f"its copy does not run ({type(error).__name__})"
            continue
        if max(logits, cells) <= MOST[bits_16]:
            where = f" and cells by {cells:.1g}" if tap else ""
            said = f"; on the first image logits deviate by {logits:.1g}{where} of the greatest"
            return Optimised(made.model, made.note + said, made.last)
        reason = f"its copy would deviate by {max(logits, cells):.1g}"
    return Optimised(model, f"not optimised: {reason}")


def _copy(model: nn.Module, image: Tensor, tap: Tap | None, traced: Trace, lowered: bool, last: bool) -> Optimised:
    names = [call.module for call in traced.calls]
    before = names if tap is None else names[: traced.calls.index(traced.call(tap.module, tap.call))]
    behind = set() if tap is None else set(names[len(before) :])
    made = copy.deepcopy(model)
    for module in made.modules():
        module.training = False
    found = pairs(made, image, [tap.module] if tap else [])
    fold(made, found)
    trunk: list[Any] = [each for name in set(before) - behind if type(each := made.get_submodule(name)) in CONVOLUTIONS]
    for module in trunk if last else ():
        if module.weight.ndim in ORDERS:
            module.to(memory_format=ORDERS[module.weight.ndim])
    if tap is not None:
        _plain_from(made.get_submodule(tap.module), tap, image.dtype, image.device.type)
    if lowered:
        _lower(made, image.device.type)
    said = f"{len(found)} batch norms folded{', channels last' if last else ''}"
    said += ", bfloat16 up to the layer" if lowered else ""
    folded_frames = not any(module.weight.ndim == image.ndim for module in trunk)
    return Optimised(made, f"optimised copy: {said}", last=last and not folded_frames)


def _lower(model: nn.Module, device: str) -> None:
    forward = model.forward

    def lowered(*args: object, **kwargs: object) -> object:
        with torch.autocast(device, torch.bfloat16, cache_enabled=False):
            return forward(*args, **kwargs)

    model.forward = lowered  # of this copy alone


def _plain_from(module: nn.Module, tap: Tap, dtype: torch.dtype, device: str) -> None:
    """From the tap on: the input's own precision, no autocast until the model's end, and the usual order of memory."""

    def plain(tensor: Tensor) -> Tensor:
        return tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor

    def change(value: object) -> object:
        torch.set_autocast_enabled(device, False)
        return each_tensor(value, plain)

    if tap.role == "input":
        module.register_forward_pre_hook(lambda m, args: change(args))
    else:
        module.register_forward_hook(lambda m, args, output: change(output))


def _deviation(
    model: nn.Module, made: Optimised, image: Tensor, tap: Tap | None, arrangement: Arrangement
) -> tuple[float, float]:
    """Greatest difference of the outputs, and of gradient x activation of the highest, in shares of the greatest."""
    seen: list[tuple[Tensor, Tensor]] = []
    for net, x in ((model, image), (made.model, made.input(image))):
        with undisturbed(net, x.device):
            capture = Capture(net, x, [tap] if tap else [])
            raw = logits_of(capture.output).float()
            logits = raw.flatten(2).mean(2) if raw.ndim > 2 else raw  # (1, C)
            highest = int((seen[0][0] if seen else logits).argmax())
            cells = torch.zeros(1)
            if tap is not None:
                product = capture.activation(tap) * capture.gradient(logits[:, highest], tap)
                cells = arrangement.rows(product).float().sum(1)
            seen.append((logits.detach(), cells))
    (logits, cells), (others, their_cells) = seen
    return _apart(logits, others), _apart(cells, their_cells)


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))


def _state(model: nn.Module) -> object:
    """What changes when weights, numbers or modules do, at the cost of milliseconds."""
    modules = list(model.modules())
    held = [tensor for m in modules for tensor in (*m._parameters.values(), *m._buffers.values())]
    tensors = [tensor.detach() for tensor in held if tensor is not None]
    norms = torch._foreach_norm([tensor for tensor in tensors if tensor.is_floating_point()])
    versions = [(tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version) for tensor in tensors]
    own = [m for m in modules if not type(m).__module__.startswith("torch.nn.")]
    numbers = [value for m in own for value in m.__dict__.values() if type(value) in (int, float, str)]
    return [float(norm) for norm in norms], versions, [id(m) for m in modules], numbers
