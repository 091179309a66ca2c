"""Grouped Score-CAM against Score-CAM: forward passes saved, and whether both rank the cells alike.

Not random weights here, but the demonstration bundles on phantoms, sick and healthy by turns, that nothing was trained
or tuned on; of a lung ultrasound the encoder of frames on the middle frame. Spearman's rank correlation of the maps for
the finding, of logits, over all cells at the layer; every forward pass counts, the captured one included, and there is
none backwards. Beside it a control that asks nothing: all channels weighted alike. Of probabilities, which are left out
here, it is near 1, so that a high correlation says little. "Peaks" are how many of the true positives have their
strongest cell in the lesion. The bundles have few channels and pool by nearly a maximum.
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
from medcam.explainers._masking import Hidden, Of
from medcam.explainers.base import LayerMethod, View
from medcam.explainers.scorecam import ScoreCAM
from medcam.models import load_bundle
from medcam.models._card import Card
from medcam.plugins import locate
from tests.benchmarks.measure import Row, ratios, spread

GROUPS = {"chest_xray_opacity": 7, "histology_tumour": 5, "lung_ultrasound": 7}
"""A tenth of the forward passes that each bundle's 80, 64 and 80 channels take, one of them captured."""
SETTINGS: dict[str, tuple[Of, Hidden]] = {
    "hidden in the image's mean": ("logit", "mean"),
    "hidden in a blur": ("logit", "blur"),
    "hidden in black": ("logit", 0.0),
}
WANTED = {"hidden in the image's mean": "at least 0.9"}
FIRST = 81_000_000
"""First seed, none at which anybody looked while the grouping was chosen."""
PHANTOMS = 12


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
    """All bundles in all settings; nothing is timed, so that rounds do not matter."""
    return [told for pipeline in GROUPS for told in compare(pipeline, 4 if quick else PHANTOMS)]


def compare(pipeline: str, phantoms: int) -> list[Row]:
    """One bundle: a row for each setting."""
    model, layer, card = bundled(pipeline)
    found: dict[str, list[list[Explained]]] = {words: [] for words in SETTINGS}
    counts: dict[str, list[list[float]]] = {words: [] for words in SETTINGS}
    masks = []
    for seed in range(FIRST, FIRST + phantoms):
        x, mask = seen(pipeline, seed, card)
        masks.append(mask)
        for words, (of, hidden) in SETTINGS.items():
            maps, passes = asked(model, x, layer, GROUPS[pipeline], of, hidden)
            found[words].append(maps)
            counts[words].append(passes)
    return [
        row(f"{card.name}, {words}", GROUPS[pipeline], masks, maps, counts[words], WANTED.get(words, "no target"))
        for words, maps in found.items()
    ]


def bundled(pipeline: str) -> tuple[nn.Module, str, Card]:
    """A demonstration bundle's network, the layer to explain, and its card; of clips the encoder of frames."""
    bundle = load_bundle(locate("sample_data") / "bundles" / pipeline)
    frames = pipeline == "lung_ultrasound"
    model = bundle.model.get_submodule("encoder") if frames else bundle.model
    return model, bundle.card.layer.removeprefix("encoder."), bundle.card


def seen(pipeline: str, seed: int, card: Card) -> tuple[Tensor, npt.NDArray[np.bool_]]:
    """A phantom as the network sees it, (1, C, *space), and its lesion; of a clip the middle frame."""
    drawn = sample(generator(pipeline).phantom(seed, seed % 2 == 1), card.transform, dict(card.transform_options))
    x, mask = drawn.prepared.tensor, drawn.mask
    x = x if x.ndim == mask.ndim + 2 else x[None]
    middle = len(mask) // 2
    return (x[:, :, middle], mask[middle]) if pipeline == "lung_ultrasound" else (x, mask)


def asked(
    model: nn.Module, x: Tensor, layer: str, groups: int, of: Of, hidden: Hidden
) -> tuple[list[Explained], list[float]]:
    """The whole map, the grouped one and the control; forward passes of the first two."""
    with counted(model) as images:
        plain = explain(model, x, ScoreCAM(of=of, hidden=hidden), targets=1, layer=layer)
        after_plain = sum(images)
        grouped = explain(model, x, ScoreCAM(groups=groups, of=of, hidden=hidden), targets=1, layer=layer)
        passes = [float(after_plain), float(sum(images) - after_plain)]
    return [plain, grouped, explain(model, x, Alike(), targets=1, layer=layer)], passes


def row(
    what: str,
    groups: int,
    masks: list[npt.NDArray[np.bool_]],
    maps: list[list[Explained]],
    counts: list[list[float]],
    wanted: str,
) -> Row:
    """What came out of some phantoms."""
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
        wanted,
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
