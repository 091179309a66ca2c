"""Bundles whose weights are set by hand: their evidence lies where an image is bright (or, in colour, dark).

Small and quick stand-ins for trained models wherever a test asks what is done with an answer, not whether it is right.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from medcam.models import Card, save_bundle
from medcam.models.resnet import ResNet
from medcam.models.video import Video
from tests.small_dicom import CANARY

PIPELINES = {
    "chest_xray_opacity": ("xray", "opacity", "DX", (1, 256, 256)),
    "chest_ct_nodule": ("ct", "nodule", "CT", (1, 64, 112, 128)),
    "lung_ultrasound": ("ultrasound", "B-lines or consolidation", "US", (1, 16, 160, 192)),
    "histology_tumour": ("histology", "tumour", "SM", (3, 256, 256)),
}
"""Transform, finding, modality and input of each."""


def network_def(spatial_dims: int = 2, in_channels: int = 1, **options: object) -> dict[str, object]:
    """Cells of 4 x 4 pixels: a mean over 3 x 3, a level, a stage that hands it on."""
    small = {"widths": [1], "blocks": [1], "strides": [2], "stem_kernel": 3, "stem_stride": 2, "stem_pool": False}
    sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels}
    return {"_target_": "medcam.models.resnet.ResNet", **sizes, **small, **options}


def set_to_brightness(network: nn.Module, *, level: float = 0.6, dark: bool = False, gain: float = 200.0) -> nn.Module:
    """Logit = gain * mean(max(0, brightness - level)) - 1; for `dark`, of 1 - brightness."""
    sign = -1.0 if dark else 1.0
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("head.map.weight"):
                value.fill_(gain)
            elif name.endswith("head.bias"):
                value.fill_(-1.0)
            elif name.endswith("stem.0.weight"):
                value.fill_(sign / value[0].numel())
            elif name.endswith("stem.1.bias"):
                value.fill_(1.0 - level if dark else -level)
            elif name.endswith("downsample.conv.weight"):
                value.fill_(1.0)
            elif "stages" in name and "conv" in name:
                value.zero_()
    return network.eval()


def card(pipeline: str, **facts: object) -> Card:
    """A demonstration card."""
    transform, finding, _, _ = PIPELINES[pipeline]
    pooling = "log-mean-exp" if transform == "histology" else ""
    known = {
        "name": f"{pipeline} stand-in",
        "version": "0",
        "pipeline": pipeline,
        "labels": (finding,),
        "head": "single-logit",
        "threshold": 0.5,
        "threshold_origin": "set by hand",
        "transform": transform,
        "pooling": pooling,
        "demonstration": True,
    }
    return Card(**{**known, **facts})


def save_stand_in(
    folder: Path,
    pipeline: str,
    *,
    gain: float | None = None,
    fill: float | None = None,
    blobs: Mapping[str, bytes] | None = None,
    network: Mapping[str, object] | None = None,
    **facts: object,
) -> str:
    """One bundle at `folder`; `fill` gives every weight this one value, e.g. NaN; `network` changes its definition."""
    transform, _, modality, shape = PIPELINES[pipeline]
    definition = network_def(3 if transform == "ct" else 2, shape[0], **(network or {}))
    arguments = {name: value for name, value in definition.items() if name != "_target_"}
    made: nn.Module = ResNet(**arguments)
    if transform == "ultrasound":
        made, definition = Video(made), {"_target_": "medcam.models.video.Video", "encoder": definition}
    usual = 5000.0 if transform == "ct" else 200.0  # a block fills less of a volume
    set_to_brightness(made, dark=shape[0] == 3, gain=usual if gain is None else gain)
    if fill is not None:
        with torch.no_grad():
            for value in made.parameters():
                value.fill_(fill)
    told = card(pipeline, **facts)
    save_bundle(folder, made, definition, told, "For tests.", input_shape=shape, modality=modality, blobs=blobs or {})
    return str(folder)


def save_stand_ins(folder: Path) -> dict[str, str]:
    """All four, as `Options.models` wants them."""
    return {pipeline: save_stand_in(folder / pipeline, pipeline) for pipeline in PIPELINES}


class Fussy(nn.Module):
    """A network of somebody's own that cannot bear one kind of image, and quotes the patient when it says so."""

    def __init__(self) -> None:
        super().__init__()
        definition = network_def()
        self.network = ResNet(**{name: value for name, value in definition.items() if name != "_target_"})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) to (B, 1); raises where more than a fifth of an image is bright."""
        if bool(((image > 0.6).float().mean((1, 2, 3)) > 1 / 5).any()):
            raise ValueError(f"I do not like {CANARY}^Name")
        logits: torch.Tensor = self.network(image)
        return logits


def save_fussy(folder: Path, pipeline: str) -> str:
    """The stand-in's answers by `Fussy`. A bundle of foreign code, which has to be trusted."""
    source = Path(save_stand_in(folder, pipeline))
    (source / "configs" / "inference.json").write_text('{"network_def": {"_target_": "tests.stand_ins.Fussy"}}')
    fussy = Fussy()
    set_to_brightness(fussy)
    weights = save(fussy.state_dict())
    (source / "models" / "model.safetensors").write_bytes(weights)
    metadata = json.loads((source / "configs" / "metadata.json").read_text())
    metadata["medcam"]["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (source / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return str(folder)
