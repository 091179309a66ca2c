"""Grouped Score-CAM against Score-CAM: forward passes saved, and whether both rank the cells alike.

Not random weights here, but the demonstration bundles on phantoms, sick and healthy by turns, that nothing was trained
or tuned on; of a lung ultrasound the encoder of frames on the middle frame. Spearman's rank correlation of the maps for
the finding, over all cells at the layer. Beside it a control that asks nothing: all channels weighted alike. Where that
is near 1 the softmax hardly tells channels apart, and a high correlation says little. "Peaks" are how many of the true
positives have their strongest cell in the lesion.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from torch import Tensor, nn

from medcam.data.phantoms import generator, sample
from medcam.evaluation.localisation import hit, peak
from medcam.explainers import Explained, explain
from medcam.explainers._masking import Of
from medcam.explainers.base import LayerMethod, View
from medcam.explainers.scorecam import ScoreCAM
from medcam.models import load_bundle
from medcam.plugins import locate
from tests.benchmarks.measure import Row, ratios, spread

GROUPS = {"chest_xray_opacity": 6, "histology_tumour": 4, "lung_ultrasound": 6}
"""A tenth of the forward passes that each bundle's 80, 64 and 80 channels take, two of them for anything else."""
FIRST = 61_000_000
"""First seed, above those at which anybody looked while the grouping was chosen."""
PHANTOMS = 24


class Alike(LayerMethod):
    """The control: the mean of all channels, for every target."""

    name = "alike"
    paper = "none"
    unit = "arbitrary"
    signed = False

    def maps(self, view: View) -> Tensor:
        alike = view.activation.mean(dim=1, keepdim=True).clamp(min=0)
        return alike.expand(-1, view.scalars.shape[1], *alike.shape[2:])


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """All bundles, of logits and of probabilities; nothing is timed, so that rounds do not matter."""
    return [row for pipeline in GROUPS for row in compare(pipeline, 4 if quick else PHANTOMS)]


def compare(pipeline: str, phantoms: int) -> list[Row]:
    """One bundle: a row for logits, a row for probabilities."""
    bundle = load_bundle(locate("sample_data") / "bundles" / pipeline)
    card, groups = bundle.card, GROUPS[pipeline]
    frames = pipeline == "lung_ultrasound"
    model = bundle.model.get_submodule("encoder") if frames else bundle.model
    layer = card.layer.removeprefix("encoder.")
    found: dict[Of, list[list[Explained]]] = {"logit": [], "probability": []}
    counts: dict[Of, list[list[float]]] = {"logit": [], "probability": []}
    masks = []
    for seed in range(FIRST, FIRST + phantoms):
        x, mask = _seen(pipeline, seed, card.transform, card.transform_options, frames)
        masks.append(mask)
        control = explain(model, x, Alike(), targets=1, layer=layer)
        for of, maps in found.items():
            with counted(model) as images:
                plain = explain(model, x, ScoreCAM(of=of), targets=1, layer=layer)
                after_plain = len(images)
                grouped = explain(model, x, ScoreCAM(groups=groups, of=of), targets=1, layer=layer)
            counts[of].append([sum(images[:after_plain]), sum(images[after_plain:])])
            maps.append([plain, grouped, control])
    words = {"logit": "of logits", "probability": "of probabilities"}
    return [_row(f"{card.name}, {words[of]}", groups, masks, maps, counts[of]) for of, maps in found.items()]


def _seen(
    pipeline: str, seed: int, transform: str, options: dict[str, object], frames: bool
) -> tuple[Tensor, npt.NDArray[np.bool_]]:
    drawn = sample(generator(pipeline).phantom(seed, seed % 2 == 1), transform, options)
    x, mask = drawn.prepared.tensor, drawn.mask
    x = x if x.ndim == mask.ndim + 2 else x[None]
    middle = len(mask) // 2
    return (x[:, :, middle], mask[middle]) if frames else (x, mask)


def _row(
    what: str,
    groups: int,
    masks: list[npt.NDArray[np.bool_]],
    maps: list[list[Explained]],
    counts: list[list[float]],
) -> Row:
    agree, control = [], []
    for plain, grouped, alike in maps:
        flat = [one.evidence.flatten().numpy() for one in (plain, grouped, alike)]
        agree.append(float(spearmanr(flat[0], flat[1]).statistic))
        control.append(float(spearmanr(flat[0], flat[2]).statistic))
    shown = [
        (mask, row) for mask, row in zip(masks, maps, strict=True) if mask.any() and float(row[0].scores[0, 0]) > 0
    ]
    peaks = [sum(_pointed(row[which], mask) for mask, row in shown) for which in range(3)]
    fewer = ratios([plain for plain, _ in counts], [grouped for _, grouped in counts])
    details = (
        f"mean {mean(agree):.2f}; {spread(fewer, 1)} times fewer forward passes; all channels alike: mean "
        f"{mean(control):.2f} ({min(control):.2f} to {max(control):.2f}); peaks in the lesion, of {len(shown)}: plain "
        f"{peaks[0]}, grouped {peaks[1]}, alike {peaks[2]}"
    )
    value = spread(agree)
    return Row(
        f"rank correlation of {groups} groups with all channels, {what}, {len(maps)} phantoms",
        value,
        "at least 0.9",
        details,
    )


def _pointed(told: Explained, mask: npt.NDArray[np.bool_]) -> bool:
    return hit(peak(told.evidence[0, 0].numpy()), told.grids[0], mask, told.input_grids[0])


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Within, how many images each forward pass of the model takes; traces of its shapes do not count."""
    images: list[int] = []

    def count(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args[0].is_contiguous():  # a trace of shapes runs on an expanded zero
            images.append(len(args[0]))

    handle = model.register_forward_pre_hook(count)
    try:
        yield images
    finally:
        handle.remove()
