"""Rules of layer-wise relevance propagation, written so that gradient times value is the relevance."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def shared(parts: Tensor, out: Tensor, epsilon: float) -> Tensor:
    """`out`, whose relevance is shared out in proportion to the `parts` that its inputs gave.

    Args:
        epsilon: added to the parts' size, in shares of its mean.
    """
    whole = parts.detach()
    least = epsilon * whole.abs().mean().clamp(min=1e-30)
    ratio = torch.where(whole == 0, 0, out.detach() / (whole + torch.where(whole < 0, -least, least)))
    return out.detach() + ratio * (parts - whole)  # the value of `out`, bit by bit


def positive(func: Callable[..., Any], x: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **more: Any) -> Any:
    """What speaks for the output of a layer: positive inputs by positive weights, negative by negative; no bias."""
    both = func(x.clamp(min=0), weight.clamp(min=0), None, *rest, **more)
    return both + func(x.clamp(max=0), weight.clamp(max=0), None, *rest, **more)
