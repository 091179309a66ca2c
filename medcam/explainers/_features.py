"""What a network has seen in an image, as one vector: an activation averaged over cells and frames."""

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._alignment import align
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._capture import Tap, tapped
from medcam.explainers._layer import find
from medcam.explainers._session import first_tensor, undisturbed, unwrapped
from medcam.explainers._trace import trace


def observe(model: nn.Module, x: Tensor, layer: str | nn.Module | Tap = "auto") -> tuple[Tensor, Tensor, str]:
    """Outputs (B, K), features (B, C) at a layer and its name, from one forward pass without a graph.

    The features are those of `explain(model, x, layer=layer).features`.
    """
    model = unwrapped(model)
    traced = trace(model, x)
    tap, _ = find(model, traced, layer, x.ndim - 2)
    arrangement, _ = align(model, x, traced.call(tap.module, tap.call), tap.role)
    seen: list[Tensor] = []

    def take(tap: Tap, tensor: Tensor) -> Tensor:
        seen.append(tensor.clone())
        return tensor

    with undisturbed(model, x.device), torch.no_grad(), tapped(model, [tap], take):
        output = first_tensor(model(x))
    if output is None or not seen:
        raise ExplainError("layer-not-reached", f"The forward pass never came to {tap}, or gave no numbers.")
    return output, averaged(arrangement, arrangement.rows(seen[0]).float(), len(x)), str(tap)


def averaged(arrangement: Arrangement, activation: Tensor, batch: int) -> Tensor:
    """(rows, C, *s) to (B, C): the mean over cells, and over the rows of each sample."""
    cells = tuple(range(2, activation.ndim))
    return arrangement.evidence(activation.mean(cells, keepdim=True), batch).flatten(2).mean(2)
