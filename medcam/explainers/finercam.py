"""Finer-CAM (Zhang et al. 2025)."""

import torch
from torch import Tensor

from medcam.errors import ExplainError, UsageError
from medcam.explainers._targets import logits_of
from medcam.explainers.base import LayerMethod, View


class FinerCAM(LayerMethod):
    """Grad-CAM of the difference between a class and those most like it: what tells them apart.

    A cell that speaks for all of them alike is cold. Most like a class are those whose logits are nearest to its own,
    sample by sample, which needs no particular head. With a single logit there is nothing to compare with.

    Args:
        strength: how much of the others' mean logit is taken away; 0 is Grad-CAM.
        others: how many classes to compare with.

    Raises:
        UsageError: "bad-setting".

    Source: Zhang et al., Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation, CVPR 2025,
    arXiv 2501.11309.
    """

    name = "finercam"
    paper = "Zhang et al. 2025, arXiv 2501.11309"
    unit = "logit"
    signed = True
    tail_backwards = 2  # of the difference, and of the class itself for its logits

    def __init__(self, strength: float = 0.6, others: int = 3) -> None:
        if strength < 0 or others < 1:
            raise UsageError("bad-setting", "Finer-CAM compares with one class at least, and takes away, never adds.")
        self.strength, self.others = strength, others

    def maps(self, view: View) -> Tensor:
        """sum_k mean_p(g_k) A_k, g the gradient of z_c - strength * mean of the nearest logits.

        Raises:
            ExplainError: "bad-target", a target that is no class, or a single logit.
        """
        logits = logits_of(view.capture.output)
        known = [index for row in view.targets.classes for index in row if index is not None]
        if logits.ndim != 2 or logits.shape[1] < 2 or len(known) < view.scalars.numel():
            raise ExplainError(
                "bad-target", "Finer-CAM compares classes: it needs several logits and a class as target."
            )
        classes = torch.tensor(view.targets.classes, device=logits.device)  # (B, K)
        activation = view.activation
        cells = tuple(range(2, activation.ndim))
        maps = []
        for target in range(classes.shape[1]):
            chosen = classes[:, target, None]
            distance = (logits.detach() - logits.detach().gather(1, chosen)).abs().scatter(1, chosen, torch.inf)
            nearest = distance.topk(min(self.others, logits.shape[1] - 1), largest=False).indices
            scalar = logits.gather(1, chosen)[:, 0] - self.strength * logits.gather(1, nearest).mean(1)
            gradient = view.rows(view.capture.gradient(scalar.float(), view.tap)).float()
            maps.append((gradient.mean(dim=cells, keepdim=True) * activation).sum(dim=1))
        return torch.stack(maps, dim=1)
