"""The demonstration models: small networks trained on phantoms, one per pipeline.

    python -m medcam.training.demonstration [PIPELINE ...] [--out FOLDER]

They show how the software works. What they know is what `sample_data` draws, so they decide nothing about a patient.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medcam.data.phantoms import generator, sample
from medcam.evaluation.classification import auroc, interval, youden
from medcam.explainers import explain
from medcam.models import Bundle, Card, save_bundle
from medcam.models._network import build
from medcam.plugins import locate
from medcam.training._fit import fit
from medcam.training._pictures import draw
from medcam.training._recipe import RECIPES, Recipe

TRAINING, VALIDATION, SLIDES = 10_000_000, 20_000_000, 11_000_000
"""First seeds: far from each other, from those of archives and from those of the evaluation."""
VALIDATION_PATIENTS = 60
VERSION = "1.0"
METHODS = ("gradcam", "hirescam", "layercam")
"""Explanation methods whose full colour is fixed: the median peak of the sick phantoms that were found."""


def make(recipe: Recipe, folder: Path, say: Callable[[str], None] = print, workers: int = 2) -> Bundle:
    """Draw phantoms, train, choose the threshold on other phantoms, write the bundle. The same seeds every time."""
    began = time.monotonic()
    torch.manual_seed(0)
    seeds = range(TRAINING, TRAINING + recipe.patients)
    pictures = draw(recipe, seeds, range(SLIDES, SLIDES + recipe.slides), workers)
    say(f"{recipe.pipeline}: {len(pictures.images)} pictures drawn in {time.monotonic() - began:.0f} s")
    network = build({"network_def": recipe.network_def})
    fit(network.get_submodule(recipe.trunk), recipe, pictures, say)
    return publish(network, recipe, folder, say, time.monotonic() - began)


def publish(
    network: torch.nn.Module, recipe: Recipe, folder: Path, say: Callable[[str], None], seconds: float
) -> Bundle:
    """Validate a trained network, choose its threshold, write its bundle with a model card."""
    network.half().float().eval()  # the weights are kept in 16 bits: what follows must see the same ones
    layer = f"{recipe.trunk}.stages".removeprefix(".")
    labels, logits, peaks, shape = _validate(network, recipe, layer)
    threshold = youden(labels, logits)
    found = (labels == 1) & (logits >= min(threshold, logits[labels == 1].max()))
    area, (low, high) = auroc(labels, logits), interval(lambda pick: auroc(labels[pick], logits[pick]), len(labels))
    card = Card(
        name=f"{recipe.pipeline} demonstration",
        version=VERSION,
        pipeline=recipe.pipeline,
        labels=(recipe.label,),
        head="single-logit",
        threshold=float(1 / (1 + np.exp(-threshold))),
        threshold_origin=f"Youden on {len(labels)} validation phantoms",
        transform=recipe.transform,
        transform_options=recipe.options,
        pooling=recipe.pooling,
        layer=layer,
        full_colour={method: float(np.median(highest[found])) for method, highest in peaks.items()},
        trained_on="medcam phantoms",
        demonstration=True,
    )
    figures = f"{area:.3f} (95 % bootstrap interval {low:.3f} to {high:.3f})"
    say(f"{recipe.pipeline}: validation AUROC {figures}, threshold {card.threshold:.4f}, {seconds:.0f} s, {folder}")
    return save_bundle(
        folder,
        network,
        recipe.network_def,
        card,
        _readme(recipe, card, figures, sum(p.numel() for p in network.parameters()), seconds),
        input_shape=shape,
        modality=recipe.modality,
        half=True,
        metadata={
            "intended_use": "demonstration on phantoms; not for any decision about a patient",
            "data_source": "sample_data of medcam-toolkit",
        },
    )


def _validate(
    network: torch.nn.Module, recipe: Recipe, layer: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]], tuple[int, ...]]:
    """Phantoms that were not trained on, sick and healthy by turns.

    Returns:
        Their labels and logits, the strongest evidence by explanation method, and the shape of one input.
    """
    module, labels, logits = generator(recipe.pipeline), [], []
    peaks: dict[str, list[float]] = {method: [] for method in METHODS}
    shape: tuple[int, ...] = ()
    for number in range(VALIDATION_PATIENTS):
        made = sample(module.phantom(VALIDATION + number, number % 2 == 1), recipe.transform, dict(recipe.options))
        told = explain(network, made.prepared.tensor, list(METHODS), 1, layer, head="single-logit")
        logits.append(float(told[METHODS[0]].output))
        for method in METHODS:
            peaks[method].append(float(told[method].evidence.max()))
        labels.append(made.label)
        shape = tuple(made.prepared.tensor.shape[1:])
    highest = {method: np.array(values) for method, values in peaks.items()}
    return np.array(labels), np.array(logits), highest, shape


def _readme(recipe: Recipe, card: Card, figures: str, parameters: int, seconds: float) -> str:
    """The model card for people."""
    extra = f", and the tiles of {2 * recipe.slides} whole slides" if recipe.slides else ""
    shown = f" of {recipe.per_epoch} pictures" if recipe.per_epoch else ""
    more = ""
    if recipe.crop:
        pieces = " x ".join(map(str, recipe.crop))
        more += f" Pieces of {pieces} voxels were shown, whole volumes in the last {recipe.whole:.0%} of the steps."
    if recipe.small_first:
        more += f" Small lesions came more often: as (voxels of the patient's largest)^-{recipe.small_first:.2g}."
    if recipe.settle:
        more += (
            f" {recipe.settle} more steps of the head and the last normalisations saw whole volumes, each patient as"
        )
        more += " often as the next, and weighted healthy cells four times as much."
    threads = torch.get_num_threads()
    return f"""# {card.name}

Finds: {recipe.label}. **A demonstration: it has seen drawn phantoms only and decides nothing about a patient.**

| | |
|---|---|
| Pipeline | `{card.pipeline}` |
| Input | transform `{card.transform}`, options `{dict(card.transform_options)}` |
| Network | `{recipe.network_def["_target_"]}`, {parameters:,} parameters, weights in 16 bits |
| Output | one logit; score = sigmoid(logit), not calibrated |
| Threshold | {card.threshold:.4f} of the score: {card.threshold_origin} |
| Version | {card.version} |

## Data

Phantoms drawn by `sample_data.{generator(recipe.pipeline).__name__.split(".")[-1]}`: {recipe.patients} seeds from \
{TRAINING:,} on, each with the finding, {recipe.healthy} of them without it too{extra}. \
Threshold and figures: {VALIDATION_PATIENTS} seeds from {VALIDATION:,} on, half of them sick. \
No image of a person was used.

## Training

{recipe.epochs} epochs{shown}, AdamW with one cycle of the learning rate ({recipe.rate:g}), batches of \
{recipe.batch}, on mirrored and noisier copies, {recipe.moved:.0%} of them shifted, zoomed and turned too.\
{more} The loss is binary cross-entropy of the label plus a focal loss of the class map against the phantom's exact \
lesion mask: a supervision that real data rarely have, so the sharpness of this model's heatmaps says nothing about \
models trained on labels alone. Made by `python -m medcam.training.demonstration {card.pipeline}` in \
{seconds / 60:.0f} minutes, drawing included, with {threads} thread{"s" * (threads > 1)}.

## Figures

AUROC {figures} on the validation phantoms that also gave the threshold and chose the training.
On unseen phantoms, with the place of the heatmap's peak: `python -m medcam.evaluation.phantoms`, written to
`docs/results/phantom_bundles.md`.

## Limits

- Real images are unlike phantoms. On real images the score means nothing, whatever it is.
- One finding. "Not flagged" says nothing about anything else.
- The score is not a probability.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the named bundles, by default all of them."""
    parser = argparse.ArgumentParser(prog="python -m medcam.training.demonstration", description=__doc__)
    parser.add_argument("pipelines", nargs="*", choices=[*RECIPES, []], help="default: all")
    parser.add_argument("--out", type=Path, default=None, help="default: sample_data/bundles")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw phantoms")
    options = parser.parse_args(arguments)
    out = options.out or locate("sample_data") / "bundles"
    for name in options.pipelines or RECIPES:
        make(RECIPES[name], out / name, workers=options.workers)


if __name__ == "__main__":
    main()
