"""How strong evidence is that is shown in full colour: the same for every case, so that a healthy one looks cold."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from medcam.data.bags import Bags
from medcam.data.images import Images
from medcam.errors import ExplainError
from medcam.explainers import explain, explain_bag
from medcam.models import Bundle
from medcam.models._attention import Attending
from medcam.training.answers import Answers, cine, series
from medcam.training.learned import Learned

METHODS = ("gradcam", "hirescam", "layercam")
MOST_CASES = 40


def full_colour(
    bundle: Bundle, images: Images | Bags, told: Answers, learned: Learned, label: int, cines: bool
) -> Mapping[str, float]:
    """By explanation method, the median over cases that were rightly flagged of each one's strongest evidence.

    Args:
        bundle: the network, and a card that says how it is to be read.
        images: of the calibration patients, or bags of them; test patients decide nothing that a bundle holds.
        told: what the network said about them.
        learned: says which of them are flagged.
        label: which finding is explained.
        cines: the network takes whole cines.

    Returns:
        Mapping: of bags times the number of their images, see `Card.full_colour`; without a
            method that cannot explain this network, or saw no evidence in most of the cases.
    """
    known, cut = told.calibrated(learned.calibration), learned.calibration.thresholds[label].value
    found = (known.targets[:, label] > 0.5) & (known.probabilities[:, label] >= cut)
    groups = images.members if isinstance(images, Bags) else series(images)
    single = images.images if isinstance(images, Bags) else images
    chosen = [groups[row] for row in np.flatnonzero(found)[:MOST_CASES]]
    peaks: dict[str, list[float]] = {method: [] for method in METHODS}
    strongest = _of_patches if isinstance(images, Bags) and not cines else _of_image
    for group in chosen:
        x = cine(single, group) if cines else torch.stack([single[int(i)]["image"] for i in group])
        for method, values in peaks.items():
            with contextlib.suppress(ExplainError):
                values.append(strongest(bundle, x, method, label) * (len(group) if isinstance(images, Bags) else 1))
    medians = {method: float(np.median(values)) for method, values in peaks.items() if values}
    return {method: value for method, value in medians.items() if value > 0}


def _of_image(bundle: Bundle, x: torch.Tensor, method: str, label: int) -> float:
    """The strongest evidence in a cine, or in the first tile of (N, C, *space)."""
    device = bundle.device
    odds = partial(bundle.odds, label=label)
    return float(explain(bundle.model, x[:1].to(device), method, odds, bundle.card.layer).evidence.max())


def _of_patches(bundle: Bundle, x: torch.Tensor, method: str, label: int) -> float:
    """The strongest evidence for a bag in one of its patches (N, C, H, W)."""
    halves = Attending.of(bundle.model)
    assert halves is not None
    shown, looked = explain_bag(halves, x, method, partial(bundle.odds, label=label), bundle.card.layer)
    peaks = torch.cat([one.evidence.flatten(1).amax(1) for one in shown])  # (N,)
    return float((peaks * looked.weights).max())
