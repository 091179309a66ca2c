"""CAM (Zhou et al. 2016)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._targets import logits_of
from medcam.explainers._trace import Call
from medcam.explainers.base import Located, Method, View

TOLERANCE = 1e-3
"""Of the largest weight: how far the gradient may be from what average pooling and a linear layer give."""


class CAM(Method):
    """The linear layer behind average pooling, applied to each cell: all classes from one 1x1 convolution.

    Divided by the number of cells, so that the cells add up to the logit less its bias, as Grad-CAM's do; the paper's
    map is the sum of that many. A head that is not average pooling and one linear layer is refused: one gradient, of
    the first target, shows it.

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, arXiv 1512.04150, eq. 2.
    """

    name = "cam"
    paper = "Zhou et al. 2016, arXiv 1512.04150"
    unit = "logit"
    signed = True
    family = "activation"

    def located(self, view: View) -> Located:
        """sum_k w_k A_k / Z for each explained mix of logits.

        Raises:
            ExplainError: "no-linear-head", another head than average pooling and a linear layer.
        """
        batch = len(view.capture.x)
        activation = view.arrangement.evidence(view.activation, batch)  # (B, C, *grid)
        cells = activation[0, 0].numel()
        weight = self._weight(view)  # (B, K, C)
        gradient = view.arrangement.evidence(view.gradient(0), batch) * cells
        expected = weight[:, 0].reshape(*weight.shape[::2], *[1] * (activation.ndim - 2))
        if not bool((gradient - expected).abs().max() <= TOLERANCE * expected.abs().max()):
            raise _refusal()
        return Located(torch.einsum("bc...,bkc->bk...", activation, weight) / cells, view.alignment)

    def _weight(self, view: View) -> Tensor:
        """(B, K, C): the weight of each channel in each explained scalar, by the last linear layer."""
        position = view.trace.calls.index(view.trace.call(view.tap.module, view.tap.call))
        logits = logits_of(view.capture.output)
        for call in reversed(view.trace.calls[position + 1 :]):
            linear = _linear(view.capture.model, call)
            if linear is not None and len(linear) == logits.reshape(len(logits), -1).shape[1]:
                if linear.shape[1] != view.activation.shape[1]:
                    break
                return torch.stack([share @ linear for share in self._shares(view, logits)], dim=1)
        raise _refusal()

    def _shares(self, view: View, logits: Tensor) -> Iterator[Tensor]:
        """For each target (B, logits): how much each logit counts in its scalar."""
        samples = torch.arange(len(logits), device=logits.device)
        for target in range(view.scalars.shape[1]):
            again = logits.detach().float().requires_grad_()
            scalars = view.targets.of(again, samples)[:, target]
            yield torch.autograd.grad(scalars.sum(), again)[0].reshape(len(logits), -1)


def _linear(model: nn.Module, call: Call) -> Tensor | None:
    """The weight (out, in) of a linear layer or 1x1 convolution."""
    module = model.get_submodule(call.module)
    weight = getattr(module, "weight", None)
    if not isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d) or not isinstance(weight, Tensor):
        return None
    return weight.detach().float().flatten(1) if weight[0, 0].numel() == 1 else None


def _refusal() -> ExplainError:
    message = "CAM needs average pooling and one linear layer behind the explained layer; use gradcam or hirescam."
    return ExplainError("no-linear-head", message)
