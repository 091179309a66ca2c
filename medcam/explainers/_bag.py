"""A bag too large for one forward pass, explained image by image through the encoder of a network that attends."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medcam.explainers._explain import MethodLike, explain
from medcam.explainers._result import Explained
from medcam.grid import Grid
from medcam.models._attention import Attending, Looked

ENCODER = "encoder."
"""How the names of a network's layers begin where they are its encoder's."""


def explain_bag(
    halves: Attending,
    images: Tensor,
    method: MethodLike,
    target: Callable[[Tensor], Tensor],
    layer: str = "auto",
    grids: Sequence[Grid] | None = None,
    at_once: int = 16,
) -> tuple[list[Explained], Looked]:
    """Evidence of each image for what is asked of the bag's output, and what the network sees in the bag.

    An image's evidence is that of its own logits, in the proportions in which those of the bag make the target; times
    the image's weight it is evidence for the bag. Attention itself is taken as it is: how the image could draw more of
    it is not part of the map.

    Args:
        halves: of the network.
        images: (N, C, H, W) of one bag.
        method, grids: as for `explain`; one grid for each image.
        target: the bag's output (1, K) -> the explained scalar (1,).
        layer: of the network, whose names begin with "encoder."; or "auto".
        at_once: images in one forward pass.

    Returns:
        Some images each, in order, on the device of the encoder; and all of them as they were looked at.

    Raises:
        ExplainError: there is no honest map.
    """
    device = next(halves.encoder.parameters()).device
    starts = range(0, len(images), at_once)
    with torch.no_grad():
        seen = [halves.each(images[start : start + at_once].to(device)) for start in starts]
        logits, features = (torch.cat(part) for part in zip(*seen, strict=True))
        looked = Looked(logits, halves.attention(features[None])[0], features, (len(images),))
    output = looked.output.requires_grad_()
    with torch.enable_grad():
        (share,) = torch.autograd.grad(target(output).sum(), output)  # (1, K): how each logit counts in the target
    explained = [
        explain(
            halves.encoder,
            images[start : start + at_once].to(device),
            method,
            lambda own: (own * share).sum(dim=1),
            layer.removeprefix(ENCODER),
            grids=None if grids is None else grids[start : start + at_once],
        )
        for start in starts
    ]
    return explained, looked
