"""From a trained network and what was learned about it to a bundle with its model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors.torch import save
from torch import nn

from medcam.data.splits import HashedSplit
from medcam.models import Bundle, Card, save_bundle
from medcam.training.account import NAME, Account
from medcam.training.card import CURVE, readme
from medcam.training.learned import Learned
from medcam.training.plan import Plan

VERSION = "1.0"


def card_of(plan: Plan, learned: Learned, layer: str, pooling: str) -> Card:
    """What the network's numbers mean, but for what is shown in full colour."""
    cut = learned.calibration.thresholds[plan.label]
    patients = len({row.patient_id for row in plan.rows})
    sources = sorted({row.columns["dataset"].strip() for row in plan.rows if "dataset" in row.columns} - {""})
    return Card(
        name=f"{plan.name}, trained on {plan.data_sha256[:8]}",
        version=VERSION,
        pipeline=plan.name,
        labels=plan.labelling.names,
        head=plan.labelling.head,
        threshold=cut.value,
        threshold_origin=cut.origin,
        transform=plan.pipeline.transform,
        transform_options=plan.transform_options,
        pooling=pooling,
        layer=layer,
        trained_on=", ".join([f"{len(plan.rows)} files of {patients} patients", *sources[:5]]),
        demonstration=False,
    )


def hashes(network: nn.Module, blobs: dict[str, bytes], half: bool) -> tuple[str, dict[str, str]]:
    """SHA-256 of the weights as a bundle keeps them, and of its other files by name."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    return _sha256(save(state)), {name: _sha256(content) for name, content in blobs.items()}


def blobs_of(learned: Learned, split: HashedSplit, curves: bytes) -> dict[str, bytes]:
    """Everything of a bundle beside weights and configuration, but for the account that names their hashes."""
    return {**learned.blobs(split), CURVE: curves}


def publish(
    out: Path, network: nn.Module, card: Card, account: Account, plan: Plan, blobs: dict[str, bytes], channels: int
) -> Bundle:
    """Write the bundle whole.

    Args:
        out: where to.
        network: with the weights to keep, on the CPU.
        card, account: what they mean and how they came about.
        plan: what was asked.
        blobs: of `blobs_of`.
        channels: of an image.

    Raises:
        ResultsError: "disk-full" or "not-writable"; an older bundle is still there.
    """
    options = plan.transform_options
    parts = [options["frames"]] if plan.parts == "frames" else [] if plan.bag is None else [account.settings.per_bag]
    return save_bundle(
        out,
        network,
        account.network.definition,
        card,
        readme(account, plan.pipeline),
        input_shape=(channels, *parts, *options["size"]),
        modality=plan.pipeline.accepts.modalities[0],
        half=account.network.half,
        metadata={
            "description": f"{plan.pipeline.question} {', '.join(card.labels)}",
            "intended_use": "research use only; it decides nothing about a patient",
            "data_source": card.trained_on,
            "authors": "whoever trained it, with medcam-toolkit",
            "copyright": "of whoever trained it; the licences of the data apply",
        },
        blobs={**blobs, NAME: (json.dumps(account.to_dict(), indent=1, allow_nan=False) + "\n").encode()},
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
