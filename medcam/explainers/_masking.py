"""What the model says about an image of which parts are hidden: what takes their place, and the scores."""

from typing import Literal, get_args

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._targets import logits_of
from medcam.explainers.base import View

Hidden = float | Literal["mean", "blur"]
"""What hidden cells become: one value, the mean of each channel of the image, or the image blurred."""
Of = Literal["logit", "probability"]
"""Whether the explained scalar itself is asked for, or its class's probability."""

BLUR = 0.05
"""Standard deviation of the blur in shares of each axis (Fong and Vedaldi 2017: 10 of 224 pixels)."""


def check(hidden: object, of: object = "logit") -> None:
    """Refuse settings that mean nothing.

    Raises:
        UsageError: "bad-setting".
    """
    if isinstance(hidden, bool) or not (isinstance(hidden, int | float) or hidden in ("mean", "blur")):
        raise UsageError("bad-setting", f'Hidden cells become a number, "mean" or "blur", not {hidden!r}.')
    if of not in get_args(Of):
        raise UsageError("bad-setting", f'Asked for is the "logit" or the "probability", not {of!r}.')


def said(hidden: Hidden) -> str:
    """The note about what hidden cells became: a map says as much about that as about the image."""
    words = {"mean": "the image's mean", "blur": "the blurred image"}
    return f"hidden cells become {words[hidden] if isinstance(hidden, str) else f'{hidden:g}'}"


def without(x: Tensor, hidden: Hidden) -> Tensor:
    """(B, C, *space) with everything hidden, in float32."""
    x = x.float()
    if hidden == "mean":
        return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
    if hidden == "blur":
        return _blurred(x)
    return torch.full_like(x, float(hidden))


def masked(view: View, sample: int, nothing: Tensor, masks: Tensor, of: Of = "logit") -> Tensor:
    """(n, K): the scores of one sample seen through n masks.

    Args:
        nothing: (C, *space), the sample with everything hidden, see `without`.
        masks: (n, *space), 1 where it is seen and 0 where hidden; at most as many as the view's budget.

    Raises:
        UsageError: "bad-setting", a probability of what is no class.
    """
    x = view.capture.x[sample]
    inputs = torch.lerp(nothing, x.float(), masks[:, None].to(x.device)).to(x.dtype)  # (n, C, *space)
    samples = torch.full((len(masks),), sample, device=x.device)
    return view.scores(inputs, samples) if of == "logit" else _probabilities(view, inputs, samples)


def _probabilities(view: View, inputs: Tensor, samples: Tensor) -> Tensor:
    targets = view.targets
    if targets.own is not None or targets.head not in ("softmax", "sigmoid", "single-logit"):
        raise UsageError("bad-setting", 'Only a class of an image has a probability here; ask for of="logit".')
    with torch.no_grad():
        logits = logits_of(view.capture.model(inputs)).float()
    if targets.head == "softmax":
        return targets.of(torch.log_softmax(logits, dim=1), samples).exp()
    return torch.sigmoid(targets.of(logits, samples))


def _blurred(x: Tensor) -> Tensor:
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        cells = torch.arange(size, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-((cells[:, None] - cells) ** 2) / (2 * (BLUR * size) ** 2))  # (size, size)
        kernel = kernel / kernel.sum(dim=1, keepdim=True)  # what lies outside the image does not count
        x = (x.movedim(axis, -1) @ kernel.T).movedim(-1, axis)
    return x
