"""Focal loss for classifiers in its closed forms, with weights of the classes and one value per sample.

Own code instead of MONAI's, whose loss is made for voxels and surprises with one label per image: it is a sigmoid even
for several classes, its softmax mean is over classes too, its sum is a mean, and leaving out the background changes the
probabilities. `tests/training/test_losses.py` shows each, and that both agree where the formula is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from medcam.errors import UsageError
from medcam.models._bundle import HeadKind

Targets = npt.NDArray[np.float32]
Reduction = Literal["none", "mean", "sum"]


class FocalLoss(nn.Module):
    """Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017: cross-entropy times (1 - p)^gamma.

    A label that is spread by smoothing, or soft from the start, is a mixture: each class's term is weighted by its
    share and has its own (1 - p)^gamma, so that a hard label gives the closed form and gamma 0 gives cross-entropy.

    Args:
        head: "softmax"; or "single-logit" or "sigmoid", where each logit is a question of its own.
        gamma: how much less sure answers count; 0 is cross-entropy.
        weights: softmax (K,), the weight of each class; otherwise (K, 2), that of each label's absence and presence.
        smoothing: share of each label that is spread evenly over all classes, for sigmoid over yes and no.
        reduction: of the samples. A sample's loss is the mean over its labels, or its one softmax term.
    """

    def __init__(
        self,
        head: HeadKind,
        gamma: float = 0.0,
        weights: torch.Tensor | None = None,
        smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.head, self.gamma, self.smoothing, self.reduction = head, gamma, smoothing, reduction
        self.register_buffer("weights", weights, persistent=False)
        self.weights: torch.Tensor | None

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) and targets (N, K) in [0, 1] to a scalar, or (N,) without reduction."""
        log_p = _log_probabilities(logits, self.head)  # (N, K) or (N, K, 2)
        share = targets if self.head == "softmax" else torch.stack([1 - targets, targets], dim=-1)
        if self.smoothing:
            share = share * (1 - self.smoothing) + self.smoothing / share.shape[-1]
        terms = -share * _modulation(log_p, self.gamma) * log_p
        if self.weights is not None:
            terms = terms * self.weights
        loss = terms.sum(-1)  # (N,), or (N, K) of separate questions
        loss = loss if self.head == "softmax" else loss.mean(-1)
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()


def _log_probabilities(logits: torch.Tensor, head: HeadKind) -> torch.Tensor:
    """Of each class (N, K), or of no and yes (N, K, 2): finite for any finite logit."""
    if head == "softmax":
        return functional.log_softmax(logits, dim=-1)
    return torch.stack([functional.logsigmoid(-logits), functional.logsigmoid(logits)], dim=-1)


def _modulation(log_p: torch.Tensor, gamma: float) -> torch.Tensor | float:
    """(1 - p)^gamma; the floor keeps the gradient of a power below 1 finite where p is 1."""
    if gamma == 0:
        return 1.0
    return (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny) ** gamma


def class_weights(
    alpha: str, targets: Targets, head: HeadKind, given: Sequence[float] = (), beta: float = 0.999
) -> torch.Tensor | None:
    """Weights for `FocalLoss` from how often each class occurs.

    Args:
        alpha: "none"; "counts", inverse frequency; "effective", inverse effective number (Cui et al., "Class-Balanced
            Loss Based on Effective Number of Samples", CVPR 2019), both scaled to sum to the number of classes; or
            "given", the numbers in `given`.
        targets: (N, K) of the training examples.
        given: softmax: K weights; otherwise one number a per label, the weight of its presence, 1 - a of its absence
            (Lin et al.), or for a single logit two numbers, for absence and presence.
        beta: of the effective number: 0 gives no weights, towards 1 inverse frequency.

    Returns:
        torch.Tensor: softmax (K,), otherwise (K, 2); None for "none".

    Raises:
        UsageError: "settings", `given` does not fit the head; "one-class", a class never occurs.
    """
    if alpha == "none":
        return None
    softmax, labels = head == "softmax", targets.shape[1]
    if alpha == "given":
        if softmax and len(given) == labels:
            return torch.tensor(given, dtype=torch.float32)
        if head == "single-logit" and len(given) == 2:
            return torch.tensor([given], dtype=torch.float32)
        if not softmax and len(given) == labels and all(0 < a < 1 for a in given):
            return torch.tensor([[1 - a, a] for a in given], dtype=torch.float32)
        raise UsageError("settings", f"weights {tuple(given)} do not fit {labels} logits of a {head} head.")
    present = targets.sum(axis=0, dtype=np.float64)  # (K,)
    counts = present if softmax else np.stack([len(targets) - present, present], axis=-1)  # (K,) or (K, 2)
    if not (counts > 0).all():
        raise UsageError("one-class", "A class never occurs in the training examples, so it can have no weight.")
    number = counts if alpha == "counts" else effective_number(counts, beta)
    weights = number.shape[-1] / number / (1 / number).sum(axis=-1, keepdims=True)
    return torch.from_numpy(weights).float()


def effective_number(counts: npt.NDArray[np.float64], beta: float) -> npt.NDArray[np.float64]:
    """(1 - beta^n) / (1 - beta): what n samples add when each new one overlaps with those before (Cui et al., 2019)."""
    result: npt.NDArray[np.float64] = (1 - beta**counts) / (1 - beta)
    return result
