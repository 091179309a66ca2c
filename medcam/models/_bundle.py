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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medcam.errors import ModelError
from medcam.findings import Prediction
from medcam.models._card import INFERENCE, METADATA, WEIGHTS, Card, HeadKind, read_card, read_json
from medcam.models._network import build
from medcam.models._replace import settled

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Bundle", "HeadKind", "load_bundle", "load_model"]


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

    @property
    def device(self) -> torch.device:
        """Where the network is, and where images must be."""
        return next(self.model.parameters()).device

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

    def pooled(self, output: torch.Tensor) -> torch.Tensor:
        """Logits (K,) of a series from the raw output (B, K) for its parts, pooled as the card says."""
        from medcam.models._pooling import of_series

        return of_series(output, self.card.head, self.card.pooling)

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
        several = len(logits) > 1
        logit = self.odds(self.pooled(logits)[None], label)[0]
        return Prediction(
            finding=self.card.labels[label],
            score=float(logit.sigmoid()),
            logit=float(logit),
            threshold=self.card.threshold,
            threshold_origin=self.card.threshold_origin,
            part_scores=tuple(self.odds(logits, label).sigmoid().tolist()) if several else (),
            pooling=self.card.pooling if several else "",
        )


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
        stated = read_json(settled(Path(spec)) / METADATA).get("medcam", {}).get("weights_sha256", "")
        return _network(Path(spec), stated, trust_code)[0].to(device)
    name, _, factory = spec.partition(":")
    try:
        model = getattr(importlib.import_module(name), factory)()
    except (ImportError, AttributeError) as error:
        raise ModelError("model-factory", f"{spec} cannot be imported ({error}); give module:function.") from error
    if not isinstance(model, nn.Module):
        raise ModelError("model-factory", f"{spec} made a {type(model).__name__}, not a torch.nn.Module.")
    return model.eval().to(device)


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
    model = build(read_json(folder / INFERENCE), trust_code)
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
