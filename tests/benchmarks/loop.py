"""For comparison, what people write today: a loop of MONAI's reader, transforms, forward and GradCAM, image by image.

It keeps nothing: no intake, no geometry, no regions, no pictures, no results. Its cost per image is told in forwards:
that of the same network on the same images in batches of 8 under `inference_mode`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from medcam.models import load_bundle
from tests.benchmarks import inputs
from tests.benchmarks.measure import Row, interleaved, ratios, seconds, spread

SIZE = (320, 320)
BATCH = 8


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """16 chest X-rays of 1024 x 1024, DenseNet121 at 320 x 320."""
    bundle = inputs.bundle(folder / "bundle", "chest_xray_opacity", "DenseNet121", "xray", SIZE)
    images = sorted(inputs.xrays(folder / "xrays", 8 if quick else 16, 1024).iterdir())
    return [compare(load_bundle(bundle).model, images, SIZE, "class_layers.relu", rounds)]


def compare(model: nn.Module, images: list[Path], size: tuple[int, int], layer: str, rounds: int) -> Row:
    """The loop over the images against their forwards.

    Raises:
        RuntimeError: the loop gave no map for an image.
    """
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensityRangePercentiles
    from monai.visualize import GradCAM

    read = Compose(
        [
            LoadImage(reader="PydicomReader", image_only=True),
            EnsureChannelFirst(channel_dim="no_channel"),
            Resize(size, mode="area"),
            ScaleIntensityRangePercentiles(1, 99, 0, 1, clip=True),
        ]
    )
    explain = GradCAM(model, layer)
    tensors = [read(path).as_tensor()[None] for path in images]  # (1, 1, H, W)
    maps: list[Tensor] = []

    def forward() -> None:
        with torch.inference_mode():
            for start in range(0, len(tensors), BATCH):
                model(torch.cat(tensors[start : start + BATCH]))

    def loop() -> None:
        maps[:] = [torch.as_tensor(explain(read(path).as_tensor()[None])) for path in images]

    forward(), loop()
    if [tuple(each.shape) for each in maps] != [(1, 1, *size)] * len(images):
        raise RuntimeError(f"maps of {[tuple(each.shape) for each in maps]}")
    costs = interleaved({"forward": forward, "loop": loop}, rounds)
    shape = " x ".join(map(str, size))
    what = f"loop of MONAI's reader, forward and GradCAM over {len(images)} images, {type(model).__name__} at {shape}"
    value = spread(ratios(seconds(costs["loop"]), seconds(costs["forward"])))
    return Row(f"{what}, in forwards", value, "nothing: for comparison", f"{spread(seconds(costs['loop']), 1)} s")
