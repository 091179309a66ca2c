"""Explain one image with one model: from a file or folder to a map on the image's own grid."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcam.errors import ModelError, UsageError
from medcam.explainers import Explained, explain
from medcam.explainers._picture import write_nifti
from medcam.grid import Grid
from medcam.models import Card, load_bundle, load_model
from medcam.models._attention import Attending
from medcam.plugins import near
from medcam.readers import Decoder, index
from medcam.storage import storage_errors
from medcam.study import Series
from medcam.transforms import compose, prepare

if TYPE_CHECKING:
    from torch import Tensor, nn

WORDS = ("predicted", "all")
"""Targets that are no class."""
MOST_TILES = 256
"""Of a slide whose tiles are one bag."""


def explain_file(
    file: Path, model: str, out: Path, method: str, target: str, layer: str, transform: str | None, trust_code: bool
) -> list[Path]:
    """Write the map of one image, cine or series.

    Args:
        file: an image, or the folder of one series.
        model: a bundle's folder, or "module:factory".
        out: folder for what is written.
        method: a member of the explainers' shelf.
        target: "predicted", "all", a class number or a bundle's label. Of a bundle with one label the first two
            mean that label, whether or not it is predicted.
        layer: a module's name, or "auto".
        transform: a member of the transforms' shelf, where the model is no medcam bundle.
        trust_code: allow code of the model's own.

    Returns:
        list[Path]: for each map the evidence as NIfTI, a picture, and a description with scores and geometry.

    Raises:
        UsageError: the file is not exactly one image that can be read; "too-many-tiles".
        ModelError, ExplainError: the model or the map cannot be had.
    """
    subject = _subject(model, transform, trust_code)
    chosen, head = _targets(target, subject.card), "auto" if subject.card is None else subject.card.head
    with tempfile.TemporaryDirectory() as scratch, Decoder() as decoder:
        series = _one_series(file, decoder)
        pixels = decoder.pixels(series, Path(scratch))
        prepared = prepare(pixels, compose(subject.transform, series.facts, **subject.options))
    x, grids = prepared.tensor, prepared.grids
    attends = Attending.of(subject.network) is not None
    if attends and x.ndim == 4:
        x, grids = _bag(x, grids)
    if attends and layer == "auto" and subject.card is not None:
        layer = subject.card.layer
    explained = explain(subject.network, x, method, chosen, layer, head=head, grids=grids)
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        return [
            path
            for row in range(len(explained.grids))
            for rank in range(explained.scores.shape[1])
            for path in _write(explained, row, rank, out, file.stem, subject.card, prepared.steps)
        ]


def _bag(tiles: "Tensor", grids: tuple[Grid, ...]) -> "tuple[Tensor, tuple[Grid, ...]]":
    """Tiles (N, C, H, W) as the bag (1, C, N, H, W) of a network that attends; where they lie is told of one only."""
    if len(tiles) > MOST_TILES:
        message = f"The network looks at all {len(tiles)} tiles of the slide together, too many to explain at once"
        raise UsageError("too-many-tiles", f"{message}; screen the slide, which stitches their maps.")
    bag = tiles.transpose(0, 1)[None]
    space = tuple(bag.shape[2:])
    return bag, (replace(grids[0], shape=space) if len(tiles) == 1 else Grid.plane(space),)


def _write(
    explained: Explained, row: int, rank: int, out: Path, stem: str, card: Card | None, steps: tuple[str, ...]
) -> tuple[Path, Path, Path]:
    record = explained.sample(row, rank, _name(explained, row, rank, card))
    name = f"{stem}_{explained.method}_{record.target}" + (f"_tile{row}" if len(explained.grids) > 1 else "")
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    volume, picture, description = (out / f"{name}{suffix}" for suffix in (".nii.gz", ".png", ".json"))
    write_nifti(volume, record)
    explained.save(picture, row, rank)
    stored = {"evidence": volume.name, "explained": float(explained.scores[row, rank]), "steps": steps}
    description.write_text(json.dumps(record.to_dict({}) | stored, indent=1) + "\n")
    return volume, picture, description


@dataclass(frozen=True)
class _Subject:
    """A network, how its input is made, and the card that names its outputs, if there is one."""

    network: "nn.Module"
    transform: str
    options: Mapping[str, Any]
    card: Card | None


def _subject(spec: str, transform: str | None, trust_code: bool) -> _Subject:
    if ":" in spec and not Path(spec).is_dir():
        if not trust_code:
            raise UsageError("needs-trust", f"{spec} runs its own code; say --trust-code if it is yours.")
        if transform is None:
            raise UsageError(
                "needs-transform", "Say how the input is made: --transform xray, ct, ultrasound, histology."
            )
        return _Subject(load_model(spec, trust_code=trust_code), transform, {}, None)
    try:
        bundle = load_bundle(spec, trust_code=trust_code)
    except ModelError:
        if transform is None:
            raise
        return _Subject(load_model(spec, trust_code=trust_code), transform, {}, None)
    own = bundle.card.transform_options if transform is None else {}
    return _Subject(bundle.model, transform or bundle.card.transform, own, bundle.card)


def _targets(said: str, card: Card | None) -> Any:
    """What `explain` shall explain: numbers are those of its heads, where a single logit has classes 0 and 1."""
    labels = card.labels if card is not None else ()
    if len(labels) == 1 and said in (*WORDS, *labels):
        return 1
    if said in WORDS:
        return said
    if said in labels:
        return labels.index(said)
    if said.isdecimal():
        return int(said)
    known = f" {near(said, list(labels))}" if labels else ""
    raise UsageError("bad-target", f"--target is predicted, all, a class number or a label, not {said!r}.{known}")


def _name(explained: Explained, row: int, rank: int, card: Card | None) -> str | None:
    """What an explained output is called, if a card says so."""
    index = explained.targets.classes[row][rank]
    if card is None or index is None:
        return None
    if card.head == "single-logit":
        return card.labels[0] if index else f"not {card.labels[0]}"
    return card.labels[index]


def _one_series(file: Path, decoder: Decoder) -> Series:
    intake = index(file, decoders=[decoder])
    if len(intake.used) == 1:
        return intake.used[0]
    reasons = [str(one.reason) for one in intake.series if one.reason is not None]
    reasons += [str(one.reason) for one in intake.files if one.reason is not None]
    why = f" ({'; '.join(list(dict.fromkeys(reasons))[:3])})" if reasons and not intake.used else ""
    message = f"{file} holds {len(intake.used)} images or series{why}; name one image, or the folder of one series."
    raise UsageError("not-one-image", message)
