"""Evidential classification (Sensoy 2018): outputs are evidence for classes, and tell how much of it there is in all.

Offered for networks of one's own; vacuity is not calibrated and depends on the weight of the regulariser. Works on
tensors, whose methods it calls, so that torch is not imported here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def reading(evidence: "Tensor") -> "tuple[Tensor, Tensor]":
    """Class probabilities (..., C) and vacuity (...), 1 without any evidence, of evidence (..., C) at least zero.

    Evidence is softplus of a network's logits; ReLU starves the gradient.
    """
    total = (evidence + 1).sum(-1, keepdim=True)
    return (evidence + 1) / total, evidence.shape[-1] / total[..., 0]


def loss(evidence: "Tensor", target: "Tensor", weight: float = 1.0) -> "Tensor":
    """(N,) expected squared error under the Dirichlet distribution, and the evidence for wrong classes.

    Args:
        evidence: (N, C).
        target: (N, C) one-hot.
        weight: of the second part; the paper raises it from 0 to 1 over ten epochs.
    """
    p, _ = reading(evidence)
    total = (evidence + 1).sum(-1, keepdim=True)
    error = ((target - p) ** 2 + p * (1 - p) / (total + 1)).sum(-1)
    return error + weight * _divergence(target + (1 - target) * (evidence + 1))


def _divergence(alpha: "Tensor") -> "Tensor":
    """Kullback-Leibler divergence of Dirichlet(alpha) from the uniform one."""
    total, classes = alpha.sum(-1, keepdim=True), alpha.new_tensor(float(alpha.shape[-1]))
    norm = total[..., 0].lgamma() - classes.lgamma() - alpha.lgamma().sum(-1)
    return norm + ((alpha - 1) * (alpha.digamma() - total.digamma())).sum(-1)
