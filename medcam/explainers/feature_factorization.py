"""Deep feature factorization (Collins et al. 2018)."""

from typing import Literal, get_args

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._nmf import factorised
from medcam.explainers.base import Located, Method, View
from medcam.findings import Unit

Parts = Literal["added", "present"]
FAITHFUL = 0.7
"""Share of the squared activation below which the concepts do not stand for it."""


class FeatureFactorization(Method):
    """A few concepts, patterns of channels that occur together, and what each of them adds to the score.

    The activation, every cell a row of channels, is split into non-negative concepts. Each has a map of how much of it
    is in each cell, and a direction among channels. The gradient along that direction, cell by cell, times the map is
    what the concept adds to the score; the evidence is the sum over concepts, which is HiResCAM of the activation that
    they reproduce. The concepts one by one are in the result's `parts` (B, K, concepts, *grid), the strongest first;
    `parts` of the same concept belong together whatever the target.

    The paper's own maps are how much of each concept there is, and know no score: "present". It factorises several
    images at once to find what they share: `together`. By default each image (all frames of a clip) is factorised
    alone, so that nobody's map depends on who else is in the batch.

    Negative activations are left out; a note says how much of the activation the concepts stand for.

    Args:
        concepts: how many; those that an image does not have are zero.
        parts: "added", in logits, or "present", in the activation's own unit: the length of the channels of a cell that
            the concept accounts for, whatever the target.
        together: the images of a batch share their concepts.

    Raises:
        UsageError: "bad-setting".

    Source: Collins, Achanta, Süsstrunk, Deep Feature Factorization for Concept Discovery, ECCV 2018, arXiv 1806.10206;
    weighing concepts by the score's gradient is not part of it. pytorch-grad-cam sends each concept's direction
    through the classifier instead, bias and all, which is a score of the concept but not of the image.
    """

    name = "feature_factorization"
    paper = "Collins et al. 2018, arXiv 1806.10206"
    unit: Unit = "logit"
    signed = True

    def __init__(self, concepts: int = 4, parts: Parts = "added", together: bool = False) -> None:
        if concepts < 1 or parts not in get_args(Parts):
            raise UsageError(
                "bad-setting", f"A feature factorization has one concept at least; parts are of {get_args(Parts)}."
            )
        self.concepts, self.parts, self.together = concepts, parts, together
        if parts == "present":
            self.unit, self.signed, self.class_specific, self.tail_backwards = "arbitrary", False, False, 0

    def located(self, view: View) -> Located:
        batch, targets = len(view.capture.x), view.scalars.shape[1]
        activation = view.arrangement.evidence(view.activation, batch)  # (B, C, *grid)
        amounts, directions = self._factors(_cells(activation).clamp(min=0))  # (B, Z, P), (B, P, C)
        if self.parts == "present":
            added = [amounts * directions.norm(dim=2)[:, None]] * targets
        else:
            gradients = (view.arrangement.evidence(view.gradient(target), batch) for target in range(targets))
            added = [amounts * (_cells(gradient) @ directions.mT) for gradient in gradients]  # each (B, Z, P)
        parts = torch.stack(added, dim=1).mT.unflatten(3, activation.shape[2:]).float()  # (B, K, P, *grid)
        notes = (_said(_cells(activation), amounts @ directions, directions.shape[1]),)
        return Located(parts.sum(dim=2), view.alignment, notes, parts=parts)

    def _factors(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """How much of each concept is in each cell (B, Z, P), and the concepts' channels (B, P, C)."""
        if self.together:
            amounts, directions = factorised(cells.flatten(0, 1), self.concepts)
            return amounts.unflatten(0, cells.shape[:2]), directions.expand(len(cells), -1, -1)
        factors = [factorised(sample, self.concepts) for sample in cells]
        return torch.stack([amounts for amounts, _ in factors]), torch.stack([directions for _, directions in factors])


def _cells(maps: Tensor) -> Tensor:
    """(B, C, *grid) to (B, Z, C)."""
    return maps.flatten(2).mT.double()


def _said(cells: Tensor, reproduced: Tensor, concepts: int) -> str:
    missing = (cells - reproduced).square().flatten(1).sum(1) / cells.square().flatten(1).sum(1).clamp(min=1e-300)
    least = 1 - float(missing.max())
    short = "" if least >= FAITHFUL else ": too few, or the activation is not non-negative"
    return f"{concepts} concepts reproduce {max(least, 0):.0%} of the squared activation{short}"
