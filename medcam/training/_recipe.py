"""What makes each demonstration model: its phantoms, input, network and schedule, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """One demonstration model."""

    pipeline: str
    label: str
    modality: str
    transform: str
    options: Mapping[str, Any]
    network_def: Mapping[str, Any]
    patients: int
    """Training phantoms: one seed each, drawn sick."""
    healthy: int
    """How many of them are drawn healthy too."""
    epochs: int
    batch: int = 16
    rate: float = 3e-3
    per_epoch: int | None = None
    """Pictures shown per epoch; all of them if None."""
    flips: tuple[int, ...] = ()
    crop: tuple[int, ...] | None = None
    """Train on pieces of this shape, then settle on whole volumes."""
    whole: float = 0.2
    """Where crops are trained on, the share of the steps, the last ones, that see whole volumes."""
    settle: int = 0
    """Steps at the end for the head and the last normalisations, on whole pictures: see `_settle` in `_fit`."""
    small_first: float = 0.0
    """Rows with a lesion are drawn by its number of pixels to the power of minus this; 0: each as often as the next."""
    moved: float = 1.0
    """Share of the pictures that are shifted, zoomed and turned: see `augment`."""
    slides: int = 0
    """Whole slides whose tiles are trained on too."""
    pooling: str = ""
    trunk: str = ""
    """The part that makes the class map, "" for the whole network."""


def _resnet(**options: Any) -> dict[str, Any]:
    plain = {"stem_pool": False, "pooling": "log-sum-exp", "sharpness": 3.0, "out_channels": 1}
    return {"_target_": "medcam.models.resnet.ResNet", **plain, **options}


RECIPES = {
    recipe.pipeline: recipe
    for recipe in (
        Recipe(
            pipeline="chest_xray_opacity",
            label="pulmonary opacity",
            modality="DX",
            transform="xray",
            options={"size": [256, 256]},
            network_def=_resnet(
                spatial_dims=2,
                in_channels=1,
                widths=[24, 48, 80],
                blocks=[1, 2, 3],
                strides=[1, 2, 1],
                stem_kernel=7,
                stem_stride=4,
            ),
            patients=350,
            healthy=350,
            epochs=10,
            flips=(1,),
        ),
        Recipe(
            pipeline="chest_ct_nodule",
            label="pulmonary nodule",
            modality="CT",
            transform="ct",
            options={"size": [64, 128, 144], "spacing_mm": [4.5, 2.2, 2.2], "window_hu": [-1000, 400]},
            network_def=_resnet(
                spatial_dims=3,
                in_channels=1,
                widths=[8, 24, 48],
                blocks=[2, 1, 1],
                strides=[[1, 2, 2], 2, 1],
                stem_kernel=3,
                stem_stride=1,  # a nodule of 6 mm has three voxels: a coarser first layer loses it
            ),
            patients=600,
            healthy=100,
            epochs=64,
            batch=24,
            flips=(2,),
            crop=(16, 40, 40),
            whole=0.03,
            settle=60,
            small_first=2 / 3,
            moved=0.3,
        ),
        Recipe(
            pipeline="lung_ultrasound",
            label="B-lines or consolidation",
            modality="US",
            transform="ultrasound",
            options={"size": [160, 192], "frames": 16},
            network_def={
                "_target_": "medcam.models.video.Video",
                "pooling": "log-mean-exp",
                "encoder": _resnet(
                    spatial_dims=2,
                    in_channels=1,
                    widths=[24, 48, 80],
                    blocks=[1, 2, 3],
                    strides=[1, 2, 1],
                    stem_kernel=7,
                    stem_stride=4,
                ),
            },
            patients=150,
            healthy=150,
            epochs=8,
            per_epoch=1000,
            flips=(1,),
            trunk="encoder",
        ),
        Recipe(
            pipeline="histology_tumour",
            label="invasive carcinoma",
            modality="SM",
            transform="histology",
            options={"size": [256, 256]},
            network_def=_resnet(
                spatial_dims=2,
                in_channels=3,
                widths=[24, 48, 64],
                blocks=[1, 2, 2],
                strides=[1, 2, 1],
                stem_kernel=7,
                stem_stride=4,
            ),
            patients=300,
            healthy=300,
            epochs=10,
            per_epoch=1000,
            flips=(0, 1),
            slides=12,
            pooling="max",
        ),
    )
}
