"""What a bundle says about itself, readable without torch: the card, and where the bundle's files lie."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medcam.errors import ModelError
from medcam.models._replace import settled
from medcam.record import Record

HeadKind = Literal["single-logit", "sigmoid", "softmax"]

METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
WEIGHTS, CARD = "models/model.safetensors", "docs/README.md"
BLOB = re.compile(r"(configs|models|docs)/\w[\w-]*\.\w+", re.ASCII)
"""What other files of a bundle may be called: never a way out of its folder."""
MEMBERS = "members"
"""Folder of an ensemble's other bundles; saving a bundle anew leaves it out."""


@dataclass(frozen=True)
class Card(Record):
    """What a network's numbers mean: the "medcam" section of a bundle's metadata."""

    name: str
    version: str
    pipeline: str
    labels: tuple[str, ...]
    """Findings in the order of the logits; a single-logit head has one."""
    head: HeadKind
    threshold: float
    """Of the score in [0, 1]; at or above it a series is flagged."""
    threshold_origin: str
    transform: str
    transform_options: Mapping[str, Any] = field(default_factory=dict)
    pooling: str = ""
    """How the logits of a series' parts (the tiles of a slide) become one; "" where a series is one row."""
    layer: str = "auto"
    """The module whose output shows where the score comes from."""
    full_colour: Mapping[str, float] = field(default_factory=dict)
    """By explanation method: the evidence shown in full colour, the same for every series, so that a healthy one looks
    cold. A method that is not named is shown by each series' own strongest evidence. Of a network that attends to
    frames or tiles it is that times their number: the more there are, the smaller the share of each in the logit."""
    trained_on: str = ""
    demonstration: bool = False
    """Made to show how the software works; it decides nothing about a patient."""
    weights_sha256: str = ""
    blobs_sha256: Mapping[str, str] = field(default_factory=dict)
    """By name: the other files that belong to the bundle."""


def read_card(folder: Path | str) -> Card:
    """A bundle's card, without torch and without the weights.

    Raises:
        ModelError: "bundle-missing", "bundle-config" or "bundle-labels".
    """
    folder = settled(Path(folder))
    metadata = read_json(folder / METADATA)
    try:
        card = Card.from_dict(metadata["medcam"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "bundle-config", f'{folder / METADATA} has no whole "medcam" section: {error}; save it with save_bundle.'
        ) from error
    if not card.labels or (card.head == "single-logit") != (len(card.labels) == 1):
        raise ModelError("bundle-labels", f"{folder}: labels {card.labels} do not fit a {card.head} head.")
    for name in card.blobs_sha256:
        if not BLOB.fullmatch(name):
            raise ModelError("bundle-config", f"{folder}: {name!r} is no name of a blob; save it with save_bundle.")
    return card


def settings_digest(folder: Path | str) -> str:
    """SHA-256 of what decides a bundle's answers beside its weights: card, blobs, network, and members of an ensemble.

    Raises:
        ModelError: "bundle-missing", "bundle-config" or "bundle-labels".
    """
    stated: list[Any] = [read_card(folder).to_dict(), read_json(Path(folder) / INFERENCE)]
    stated += [settings_digest(member) for member in member_folders(Path(folder))]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def member_folders(folder: Path) -> list[Path]:
    """The bundles of other networks that answer the same question, in a bundle's folder "members"."""
    return sorted(path for path in (folder / MEMBERS).glob("*") if (path / METADATA).is_file())


def read_json(path: Path) -> dict[str, Any]:
    """An object of a bundle's configuration.

    Raises:
        ModelError: "bundle-missing" or "bundle-config".
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError("bundle-missing", f"{path} is not there; give the folder of a MONAI Bundle.") from error
    except (OSError, ValueError) as error:
        raise ModelError("bundle-config", f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError("bundle-config", f"{path} is not a JSON object.")
    return data
