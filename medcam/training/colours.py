"""How strong evidence is that is shown in full colour: the same for every case, so that a healthy one looks cold."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import torch

from medcam.data.images import Images
from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.models import Bundle
from medcam.training.answers import Answers, cine, series
from medcam.training.learned import Learned

METHODS = ("gradcam", "hirescam", "layercam")
MOST_CASES = 40


def full_colour(
    bundle: Bundle, images: Images, told: Answers, learned: Learned, label: int, cines: bool
) -> Mapping[str, float]:
    """By explanation method, the median over cases that were rightly flagged of each one's strongest evidence.

    Args:
        bundle: the network, and a card that says how it is to be read.
        images: of the calibration patients; test patients decide nothing that a bundle holds.
        told: what the network said about them.
        learned: says which of them are flagged.
        label: which finding is explained.
        cines: the network takes whole cines.

    Returns:
        Mapping: without a method that cannot explain this network, or saw no evidence in most of the cases.
    """
    known, cut = told.calibrated(learned.calibration), learned.calibration.thresholds[label].value
    found = (known.targets[:, label] > 0.5) & (known.probabilities[:, label] >= cut)
    groups = series(images)
    chosen = [groups[row] for row in np.flatnonzero(found)[:MOST_CASES]]
    device = next(bundle.model.parameters()).device
    peaks: dict[str, list[float]] = {method: [] for method in METHODS}
    for group in chosen:
        x = cine(images, group) if cines else torch.stack([images[int(i)]["image"] for i in group[:1]])
        for method, values in peaks.items():
            with contextlib.suppress(ExplainError):
                shown = explain(
                    bundle.model, x.to(device), method, lambda output: bundle.odds(output, label), told.layer
                )
                values.append(float(shown.evidence.max()))
    medians = {method: float(np.median(values)) for method, values in peaks.items() if values}
    return {method: value for method, value in medians.items() if value > 0}
