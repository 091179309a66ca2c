"""Operations on tensors that have shapes and no values: what a trace needs, at no cost in time or memory.

A blank is one zero, expanded to its shape. Where most of the work is (convolutions, products of matrices, norms,
element-wise operations, concatenation) only the shape of the result is worked out; all else runs as it is, on blanks.
The `meta` device would do the same, but its first use in a process imports torch's compiler, which takes seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medcam.explainers._composition import SAME, is_norm
from medcam.explainers._session import each_tensor


def blank(shape: Sequence[int], like: Tensor) -> Tensor:
    """A tensor of `shape` that takes no memory."""
    return torch.zeros((), dtype=like.dtype, device=like.device).expand(tuple(shape))


def run(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operator, in shape only wherever values would be costly."""
    name = str(func.overloadpacket.__name__)  # type: ignore[attr-defined]  # an operator of torch
    if name == "convolution":
        return blank(_convolved(args), args[0])
    if is_norm(name):
        statistics = [blank((1,), args[0])] * (len(func._schema.returns) - 1)  # type: ignore[attr-defined]  # an operator
        return (args[0], *statistics)
    if name == "cat":
        along = args[1] if len(args) > 1 else 0
        shape = list(args[0][0].shape)
        shape[along] = sum(part.shape[along] for part in args[0])
        return blank(shape, args[0][0])
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        left, right = args[-2:]
        return blank((*left.shape[:-1], right.shape[-1]), left)
    if name in SAME or torch.Tag.pointwise in func.tags:  # type: ignore[attr-defined]  # an operator of torch
        return _pointwise(func, name, args, kwargs)
    if any(part in name for part in ("_pool", "_pad", "upsample")) and args[0].ndim > 3:
        return _one_channel(func, args, kwargs)
    return func(*args, **kwargs)


def _convolved(args: tuple[Any, ...]) -> list[int]:
    x, weight, _, strides, paddings, dilations, transposed, extras, groups = args
    shape = [len(x), weight.shape[1] * groups if transposed else len(weight)]
    axes = zip(x.shape[2:], weight.shape[2:], strides, paddings, dilations, extras, strict=True)
    for size, kernel, stride, padding, dilation, extra in axes:
        reach = dilation * (kernel - 1)
        if transposed:
            shape.append((size - 1) * stride - 2 * padding + reach + extra + 1)
        else:
            shape.append((size + 2 * padding - reach - 1) // stride + 1)
    if min(shape) < 1:
        raise RuntimeError(f"a convolution of {tuple(x.shape)} leaves nothing")
    return shape


def _one_channel(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Of an operation that treats channels alike."""
    first, *rest = args
    result = func(first[:1, :1], *rest, **kwargs)
    return each_tensor(result, lambda tensor: tensor.expand(*first.shape[:2], *tensor.shape[2:]))


def _pointwise(func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name.endswith("_"):
        return args[0]
    tensors = [value for value in args if isinstance(value, Tensor)]
    small = [value[(slice(0, 1),) * value.ndim] if isinstance(value, Tensor) else value for value in args]
    shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    result = func(*small, **kwargs)
    return result.expand(shape) if isinstance(result, Tensor) else result
