"""Write a bundle: all of it or nothing, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcam.errors import ModelError
from medcam.models._bundle import Bundle, load_bundle
from medcam.models._card import BLOB, CARD, INFERENCE, METADATA, WEIGHTS, Card
from medcam.models._replace import replace_folder
from medcam.storage import flush_folder, storage_errors, write

if TYPE_CHECKING:
    from torch import nn

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


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
        if not BLOB.fullmatch(name) or name in (METADATA, INFERENCE, WEIGHTS, CARD):
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
