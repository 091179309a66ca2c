"""CF-CAM (He et al. 2025)."""

from typing import Literal, get_args

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._dbscan import NOISE, dbscan, pairwise
from medcam.explainers._gaussian import smoothed
from medcam.explainers._ranks import rank_correlation
from medcam.explainers._targets import logits_of
from medcam.explainers.base import Located, Method, View
from medcam.findings import Unit

Mode = Literal["linear", "reference"]
IMPORTANT = -2
STRONG = 0.75
"""Quantile of the channels' norms from which on a channel is kept as it is."""
CLOSE = 0.25
"""Quantile of the distances between the other channels, within which they are neighbours."""
DENSE = 0.05
"""Share of the other channels that a dense neighbourhood holds."""
TENDED_BY, TENDED_RANGE = 5.0, 0.1
"""Of the authors' filter: widths over cells and over values of the gradient."""


class CFCAM(Method):
    """Strong channels as they are; of the others those that resemble each other share one smoothed gradient.

    Channels whose norm is in the top quarter are kept. The rest are clustered by DBSCAN; those that resemble no other
    are noise and are left out. The gradient is averaged within a cluster and filtered.

    "linear": channels are compared by form, not by strength, and dead ones are left out; the filter is a Gaussian of
    one cell; the map is gradient times activation, cell by cell, and keeps its sign.

    "reference" is what the authors' code does: raw channels; a filter that is in effect a Gaussian of 5 cells, since
    its range of 0.1 is wide for any gradient; weights are the softmax of the mean filtered gradients, then ReLU. Mean
    gradients are so small that this softmax is nearly uniform: the map is close to the mean of the channels and hardly
    depends on the class, and no channel speaks against it. The robustness that the authors' script measures does not
    come about: it disturbs gradients which were used before. The paper's text says Gaussian, the code's readme
    bilateral filter. Use it to compare with, not to diagnose by.

    Whether the class matters is in the notes: how the maps of each image's most and least likely classes correlate by
    ranks (Rebuffi et al. 2020, arXiv 2004.02866); 1 is a map that any class would have.

    Args:
        mode: "linear" or "reference".

    Raises:
        UsageError: "bad-setting".

    Source: He, Pan, Yao, CF-CAM: Cluster Filter Class Activation Mapping for Reliable Gradient-Based Interpretability,
    arXiv 2504.00060.
    """

    name = "cfcam"
    paper = "He et al. 2025, arXiv 2504.00060"
    tail_backwards = 3  # of the target, and of two classes to see whether it matters
    unit: Unit = "logit"
    signed = True

    def __init__(self, mode: Mode = "linear") -> None:
        if mode not in get_args(Mode):
            raise UsageError("bad-setting", f"CF-CAM's mode is one of {', '.join(get_args(Mode))}, not {mode!r}.")
        self.mode = mode
        if mode == "reference":
            self.unit, self.signed, self.scales = "arbitrary", False, False

    def located(self, view: View) -> Located:
        activation = view.activation
        groups = [self._groups(row) for row in activation]  # whatever the class
        targets = range(view.scalars.shape[1])
        maps = [self._maps(activation, view.gradient(target), groups) for target in targets]
        evidence = view.arrangement.evidence(torch.stack(maps, dim=1), len(view.capture.x))
        return Located(evidence, view.alignment, (_said(groups), *self._sensitivity(view, groups), *self._warning()))

    def _sensitivity(self, view: View, groups: list[Tensor]) -> tuple[str, ...]:
        logits = logits_of(view.capture.output)
        if logits.ndim != 2 or logits.shape[1] < 2:
            return ()
        maps = []
        for scalar in (logits.amax(dim=1), logits.amin(dim=1)):
            gradient = view.rows(view.capture.gradient(scalar.float(), view.tap)).float()
            rows = self._maps(view.activation, gradient, groups)[:, None]
            maps.append(view.arrangement.evidence(rows, len(logits)).flatten(1))
        alike = [rank_correlation(*pair) for pair in zip(*maps, strict=True)]
        known = [each for each in alike if each is not None]
        said = "maps of the most and the least likely class correlate by ranks with"
        return (f"{said} {max(known):.3f}{' at most' if len(known) > 1 else ''}",) if known else ()

    def _groups(self, activation: Tensor) -> Tensor:
        """(C,): for each channel of a row (C, *s) its cluster, NOISE (which dead ones are too), or IMPORTANT."""
        norms = activation.flatten(1).norm(dim=1)
        alive = norms > 0 if self.mode == "linear" else torch.ones_like(norms, dtype=torch.bool)
        groups = torch.full_like(norms, NOISE, dtype=torch.long)
        if not bool(alive.any()):
            return groups
        important = alive & (norms >= torch.quantile(norms[alive], STRONG))
        groups[important] = IMPORTANT
        rest = alive & ~important
        count = int(rest.sum())
        if count > 1:
            points = activation[rest].flatten(1)
            points = points / norms[rest, None] if self.mode == "linear" else points
            distances = pairwise(points)
            apart = distances[~torch.eye(count, dtype=torch.bool, device=distances.device)]
            reach = max(_quantile(apart, CLOSE), 1e-5)
            groups[rest] = dbscan(distances, reach, max(2, int(DENSE * count)))
        return groups

    def _maps(self, activation: Tensor, gradient: Tensor, groups: list[Tensor]) -> Tensor:
        """(rows, *s)."""
        rows = zip(activation, gradient, groups, strict=True)
        return torch.stack([self._linear(*row) if self.mode == "linear" else self._reference(*row) for row in rows])

    @staticmethod
    def _linear(activation: Tensor, gradient: Tensor, groups: Tensor) -> Tensor:
        """sum_k filtered(g)_k A_k of one row."""
        total = (gradient * activation)[groups == IMPORTANT].sum(dim=0)
        for cluster in range(int(groups.max()) + 1):
            members = groups == cluster
            total = total + smoothed(gradient[members].mean(dim=0), 1.0) * activation[members].sum(dim=0)
        return total

    @staticmethod
    def _reference(activation: Tensor, gradient: Tensor, groups: Tensor) -> Tensor:
        """ReLU(sum_k softmax(w)_k A_k) of one row."""
        weights = gradient.flatten(1).mean(dim=1)
        for cluster in range(int(groups.max()) + 1):
            members = groups == cluster
            weights[members] = _tended(gradient[members].mean(dim=0)).mean()
        kept = groups != NOISE
        share = torch.softmax(weights[kept], dim=0).reshape(-1, *[1] * (activation.ndim - 1))
        return (share * activation[kept]).sum(dim=0).clamp(min=0)

    def _warning(self) -> tuple[str, ...]:
        if self.mode == "linear":
            return ()
        return ("weights are a softmax of small gradients: the map hardly depends on the target",)


def _quantile(values: Tensor, share: float) -> float:
    """As `torch.quantile`, which refuses more than 16 million values, as numpy interpolates it."""
    ordered = values.sort().values
    at = share * (len(ordered) - 1)
    low = int(at)
    return float(torch.lerp(ordered[low], ordered[min(low + 1, len(ordered) - 1)], at - low))


def _tended(gradient: Tensor) -> Tensor:
    """The authors' filter of a gradient (*s): correlation with a kernel of its own size, zeros around."""
    sizes = gradient.shape
    places = torch.meshgrid(*[torch.arange(size, device=gradient.device) - size / 2 for size in sizes], indexing="ij")
    away = torch.stack(places).square().sum(dim=0)
    kernel = torch.exp(-away / (2 * TENDED_BY**2))
    kernel = kernel * torch.exp(-(gradient - gradient.mean()).square() / (2 * TENDED_RANGE**2))
    kernel = kernel / (kernel.sum() + 1e-6)
    convolve = torch.nn.functional.conv2d if len(sizes) == 2 else torch.nn.functional.conv3d
    around = [side for size in reversed(sizes) for side in ((size - 1) // 2, size // 2)]  # the last axis first
    return convolve(torch.nn.functional.pad(gradient[None, None], around), kernel[None, None])[0, 0]


def _said(groups: list[Tensor]) -> str:
    counts = [int(group.max()) + 1 if bool((group >= 0).any()) else 0 for group in groups]
    noise = torch.stack([(group == NOISE).float().mean() for group in groups]).mean()
    clusters = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{clusters} clusters of channels; {noise:.0%} of channels are noise and left out, {1 - noise:.0%} are kept"
