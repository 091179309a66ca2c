"""MONAI Bundles: a folder of configuration, weights and model card that says what a network means.

configs/metadata.json      MONAI's own keys, plus "medcam": the `Card`
configs/inference.json     "network_def": a `_target_` and its arguments
models/model.safetensors   weights
docs/README.md             the model card for people

Beside them whatever else belongs to the network, as named blobs (its calibration, for instance). The card states the
SHA-256 of the weights and of every blob; a file that is not the one that was saved is refused.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medcam.errors import ModelError
from medcam.findings import Prediction
from medcam.models._network import build
from medcam.models._replace import replace_folder, settled
from medcam.record import Record
from medcam.storage import flush_folder, storage_errors, write

if TYPE_CHECKING:
    import torch
    from torch import nn

HeadKind = Literal["single-logit", "sigmoid", "softmax"]

METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
WEIGHTS, CARD = "models/model.safetensors", "docs/README.md"
_BLOB = re.compile(r"(configs|models|docs)/\w[\w-]*\.\w+", re.ASCII)  # never a way out of the folder
MEMBERS = "members"
"""Folder of an ensemble's other bundles; saving a bundle anew leaves it out."""
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


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
    cold. A method that is not named is shown by each series' own strongest evidence."""
    trained_on: str = ""
    demonstration: bool = False
    """Made to show how the software works; it decides nothing about a patient."""
    weights_sha256: str = ""
    blobs_sha256: Mapping[str, str] = field(default_factory=dict)
    """By name: the other files that belong to the bundle."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the network in eval mode, its card, and where it came from."""

    model: nn.Module
    card: Card
    folder: Path

    @property
    def sha256(self) -> str:
        """Of the weights, checked while loading."""
        return self.card.weights_sha256

    def blob(self, name: str) -> bytes | None:
        """The content of a named file that was saved with the bundle; None where there was none of that name.

        Raises:
            ModelError: "bundle-hash" or "bundle-missing", if it has changed or gone since the bundle was loaded.
        """
        return _blob(self.folder, self.card, name) if name in self.card.blobs_sha256 else None

    def odds(self, output: torch.Tensor, label: int = 0) -> torch.Tensor:
        """Log odds (B,) of one finding from the network's raw output (B, K): what is scored and what is explained."""
        if self.card.head != "softmax":
            return output[:, label]
        others = [index for index in range(output.shape[1]) if index != label]
        return output[:, label] - output[:, others].logsumexp(1)  # against all others together

    def pooled(self, odds: torch.Tensor) -> torch.Tensor:
        """One logit of a series from those of its parts (B,), as the card says."""
        from medcam.models._pooling import pool

        return pool(odds, self.card.pooling, (0,)) if len(odds) > 1 else odds[0]

    def prediction(self, output: torch.Tensor, label: int = 0) -> Prediction:
        """The network's raw output for one series as a score.

        Args:
            output: (B, K) logits; B > 1 are the parts of one series, pooled as the card says.
            label: index into the card's labels.

        Raises:
            ModelError: "not-finite", the output is not a number; "bundle-labels", it has another number of logits.
        """
        if output.shape[1] != len(self.card.labels):
            raise ModelError("bundle-labels", f"The network gives {output.shape[1]} logits for {self.card.labels}.")
        logits = output.detach().double().cpu()
        if not bool(logits.isfinite().all()):
            raise ModelError("not-finite", "The network gave NaN or infinity; the weights or the input are damaged.")
        odds = self.odds(logits, label)
        several = len(odds) > 1
        logit = self.pooled(odds)
        return Prediction(
            finding=self.card.labels[label],
            score=float(logit.sigmoid()),
            logit=float(logit),
            threshold=self.card.threshold,
            threshold_origin=self.card.threshold_origin,
            part_scores=tuple(odds.sigmoid().tolist()) if several else (),
            pooling=self.card.pooling if several else "",
        )


def read_card(folder: Path | str) -> Card:
    """A bundle's card, without torch and without the weights.

    Raises:
        ModelError: "bundle-missing", "bundle-config" or "bundle-labels".
    """
    folder = settled(Path(folder))
    metadata = _json(folder / METADATA)
    try:
        card = Card.from_dict(metadata["medcam"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "bundle-config", f'{folder / METADATA} has no whole "medcam" section: {error}; save it with save_bundle.'
        ) from error
    if not card.labels or (card.head == "single-logit") != (len(card.labels) == 1):
        raise ModelError("bundle-labels", f"{folder}: labels {card.labels} do not fit a {card.head} head.")
    for name in card.blobs_sha256:
        if not _BLOB.fullmatch(name):
            raise ModelError("bundle-config", f"{folder}: {name!r} is no name of a blob; save it with save_bundle.")
    return card


def settings_digest(folder: Path | str) -> str:
    """SHA-256 of what decides a bundle's answers beside its weights: card, blobs, network, and members of an ensemble.

    Raises:
        ModelError: "bundle-missing", "bundle-config" or "bundle-labels".
    """
    stated: list[Any] = [read_card(folder).to_dict(), _json(Path(folder) / INFERENCE)]
    stated += [settings_digest(member) for member in member_folders(Path(folder))]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def member_folders(folder: Path) -> list[Path]:
    """The bundles of other networks that answer the same question, in a bundle's folder "members"."""
    return sorted(path for path in (folder / MEMBERS).glob("*") if (path / METADATA).is_file())


def load_bundle(folder: Path | str, *, device: str = "cpu", trust_code: bool = False) -> Bundle:
    """Load and check a bundle.

    Args:
        folder: where `configs`, `models` and `docs` lie.
        device: where the network goes.
        trust_code: let the configuration run code (MONAI's own parser) and take weights from a pickle, both only of
            somebody you trust. The pickle is still read with `weights_only=True`.

    Raises:
        ModelError: "bundle-missing", "bundle-config", "bundle-code", "bundle-pickle", "bundle-hash" or "bundle-labels".
    """
    card, folder = read_card(folder), Path(folder)
    model, digest = _network(folder, card.weights_sha256, trust_code)
    for name in card.blobs_sha256:
        _blob(folder, card, name)
    return Bundle(model.to(device), replace(card, weights_sha256=digest), folder)


def load_model(spec: str, *, device: str = "cpu", trust_code: bool = False) -> nn.Module:
    """A network in eval mode from a bundle's folder, MONAI's own included, or from "module:factory".

    Raises:
        ModelError: as `load_bundle`; "model-factory", the module or what it should make is not there.
    """
    from torch import nn

    if Path(spec).is_dir() or ":" not in spec:
        stated = _json(settled(Path(spec)) / METADATA).get("medcam", {}).get("weights_sha256", "")
        return _network(Path(spec), stated, trust_code)[0].to(device)
    name, _, factory = spec.partition(":")
    try:
        model = getattr(importlib.import_module(name), factory)()
    except (ImportError, AttributeError) as error:
        raise ModelError("model-factory", f"{spec} cannot be imported ({error}); give module:function.") from error
    if not isinstance(model, nn.Module):
        raise ModelError("model-factory", f"{spec} made a {type(model).__name__}, not a torch.nn.Module.")
    return model.eval().to(device)


def save_bundle(
    folder: Path | str,
    model: nn.Module,
    network_def: Mapping[str, Any],
    card: Card,
    readme: str,
    *,
    input_shape: Sequence[int],
    modality: str,
    half: bool = False,
    metadata: Mapping[str, Any] | None = None,
    blobs: Mapping[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle, replacing one that is there only when the new one is whole, and load it again as a check.

    Args:
        folder: where to.
        model: the trained network.
        network_def: `_target_` and the arguments that make it.
        card: its meaning; the hash of the weights is filled in.
        readme: the model card in Markdown.
        input_shape: (C, *space) of one sample.
        modality: MONAI's word, e.g. "CT".
        half: store floating point weights in 16 bits.
        metadata: more of MONAI's keys, e.g. "authors", "description".
        blobs: other files of the bundle by name, e.g. "configs/calibration.json"; each is hashed into the card.

    A process that is killed meanwhile leaves the old bundle or the new one, never a mixture.

    Raises:
        ModelError: the network's definition or labels do not fit its weights; "blob-name", a blob has a strange name.
        ResultsError: "disk-full" or "not-writable"; the old bundle is still there.
    """
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    weights = save(state)
    blobs = dict(blobs or {})
    for name in blobs:
        if not _BLOB.fullmatch(name) or name in (METADATA, INFERENCE, WEIGHTS, CARD):
            raise ModelError("blob-name", f"{name!r} cannot name a blob; use one like configs/calibration.json.")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in blobs.items()}
    card = replace(card, weights_sha256=hashlib.sha256(weights).hexdigest(), blobs_sha256=digests)
    described = _metadata(card, input_shape, modality) | dict(metadata or {})
    contents = blobs | {
        METADATA: (json.dumps(described, indent=2) + "\n").encode(),
        INFERENCE: (json.dumps({"network_def": network_def}, indent=2) + "\n").encode(),
        WEIGHTS: weights,
        CARD: readme.encode(),
    }
    folder = Path(folder)
    staging = folder.with_name(f".{folder.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with storage_errors(folder):
            for name, content in contents.items():
                path = staging / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, content)
                flush_folder(path.parent)
        load_bundle(staging)
        with storage_errors(folder):
            replace_folder(staging, folder)
            flush_folder(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return load_bundle(folder)


def _metadata(card: Card, input_shape: Sequence[int], modality: str) -> dict[str, Any]:
    """MONAI's metadata keys and ours."""
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": modality,
        "num_channels": input_shape[0],
        "spatial_shape": list(input_shape[1:]),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(channel): "image" for channel in range(input_shape[0])},
    }
    logits = {
        "type": "logits",
        "format": "classes",
        "num_channels": len(card.labels),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(index): label for index, label in enumerate(card.labels)},
    }
    return {
        "schema": _SCHEMA,
        "version": card.version,
        "changelog": {card.version: "trained"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"safetensors": version("safetensors")},
        "task": card.pipeline,
        "description": f"{', '.join(card.labels)}: {card.name}",
        "authors": "medcam-toolkit",
        "copyright": "Apache-2.0",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
        "medcam": card.to_dict(),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError("bundle-missing", f"{path} is not there; give the folder of a MONAI Bundle.") from error
    except (OSError, ValueError) as error:
        raise ModelError("bundle-config", f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError("bundle-config", f"{path} is not a JSON object.")
    return data


def _blob(folder: Path, card: Card, name: str) -> bytes:
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError("bundle-missing", f"{path} belongs to the bundle and cannot be read: {error}.") from error
    if hashlib.sha256(content).hexdigest() != card.blobs_sha256[name]:
        raise ModelError("bundle-hash", f"{path} is not the file that was saved (SHA-256 differs); get it again.")
    return content


def _network(folder: Path, stated: str, trust_code: bool) -> tuple[nn.Module, str]:
    """The network with its weights, in eval mode, and their SHA-256."""
    model = build(_json(folder / INFERENCE), trust_code)
    state, digest = _weights(folder, stated, trust_code)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError("bundle-config", f"{folder}: the weights do not fit network_def: {error}") from error
    return model.eval(), digest


def _weights(folder: Path, stated: str, trust_code: bool) -> tuple[dict[str, torch.Tensor], str]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    path, pickle = folder / WEIGHTS, (folder / WEIGHTS).with_suffix(".pt")
    if not path.is_file() and pickle.is_file() and trust_code:
        digest = hashlib.sha256(pickle.read_bytes()).hexdigest()
        state: dict[str, torch.Tensor] = torch.load(pickle, map_location="cpu", weights_only=True)
        return state, digest
    if not path.is_file():
        if pickle.is_file():
            raise ModelError("bundle-pickle", f"{pickle} is a pickle, which can run code; convert it to {WEIGHTS}.")
        raise ModelError("bundle-missing", f"{path} is not there; the bundle has no weights.")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if stated and digest != stated:
        raise ModelError("bundle-hash", f"{path} is not the file that was saved (SHA-256 differs); get it again.")
    try:
        return load(content), digest
    except SafetensorError as error:
        if content[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
            raise ModelError("bundle-pickle", f"{path} is a pickle under another name; convert it.") from error
        raise ModelError("bundle-config", f"{path} is not in safetensors format: {error}.") from error
