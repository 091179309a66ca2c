"""Lesions planted all over a coarse cell: maps at their exact place against maps stretched over the image.

Positive random kernels make every network answer to what is bright, where it is; the lesion's own part of the map is
what it adds to the map of a dark image. Errors are those of its centre, in cells of the explained layer.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.models._network import build
from medcam.models._presets import preset
from tests.explainers.test_alignment import Plain
from tests.models.test_explained import prepared

SMALL = [1] * 4, [4, 4, 8, 8]
THIRD = {"widths": [8] * 4}
WITHIN = ((-0.42, 0.31), (-0.2, -0.05), (0.07, 0.44), (0.26, -0.36), (0.48, 0.15))
"""Where lesions are, in cells from the middle of the image, along the even and the odd axes."""
CASES: dict[str, tuple[int, int, float]] = {
    # spatial axes, size, and by how many cells stretching is off
    "monai resnet, stem of stride 1": (2, 256, 7.5 / 16),
    "monai resnet, stem of stride 2": (2, 256, 15.5 / 32),
    "monai seresnet": (2, 256, 13.5 / 32),
    "monai densenet": (2, 256, 1.5 / 32),
    "monai efficientnet": (2, 256, 15.5 / 32),
    "vgg-like": (2, 128, 0.0),
    "resnet18": (2, 256, 15.5 / 32),
    "densenet121": (2, 256, 1.5 / 32),
    "efficientnet_b0": (2, 256, 15.5 / 32),
    "mobilenet_v2": (2, 384, 15.5 / 32),
    "mobilenet_v3_small": (2, 256, 15.5 / 32),
    "mobilenet_v3_large": (2, 256, 15.5 / 32),
    "vit_small": (2, 224, 0.0),
    "monai resnet in 3-D": (3, 112, 7.5 / 16),
    "monai densenet in 3-D": (3, 128, 1.5 / 32),
}


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Printed when all networks are through (`pytest -s`)."""
    rows = [f"{'network':32} {'cell':>5} {'exact: mean':>12} {'worst':>6} {'stretched: mean':>16} {'worst':>6}"]
    yield rows
    print("", *rows, sep="\n")


def network(name: str, axes: int) -> nn.Module:
    from monai.networks import nets

    torch.manual_seed(0)
    shape = {"spatial_dims": axes, "num_classes": 2}
    if name.startswith("monai resnet"):
        stem = 2 if "stride 2" in name else 1
        return nets.ResNet("basic", *SMALL, n_input_channels=1, conv1_t_stride=stem, **shape)
    if name == "monai seresnet":
        return nets.SEResNet50(layers=(1, 1, 1, 1), in_channels=1, **shape)
    if name.startswith("monai densenet"):
        return nets.DenseNet(axes, 1, 2, init_features=4, growth_rate=2, block_config=(1, 2, 2, 1))
    if name == "monai efficientnet":
        return nets.EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=1, **shape)
    if name == "vgg-like":
        return Plain()
    return build({"network_def": preset(name, out_channels=2, **(THIRD if name == "resnet18" else {}))})


def positive(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
                weight = module.weight.abs()
                module.weight.copy_(weight / weight.flatten(1).sum(1).reshape(-1, *[1] * (weight.ndim - 1)))
                if module.bias is not None:
                    module.bias.zero_()
    return model.eval()


def lesions(axes: int, size: int, cell: float) -> tuple[Tensor, list[list[int]]]:
    """Gaussian spots (N, 1, *space), a third of a cell wide, and their pixels."""
    places = [[round(size / 2 + cell * at[axis % 2]) for axis in range(axes)] for at in WITHIN]
    along = torch.arange(size)
    images = torch.ones(len(places), *[size] * axes)
    for image, place in zip(images, places, strict=True):
        for axis, at in enumerate(place):
            profile = torch.exp(-((along - at) ** 2) / (2 * (cell / 3) ** 2))
            image *= profile.reshape([-1 if other == axis else 1 for other in range(axes)])
    return images[:, None], places


def centre(heat: Tensor) -> list[float]:
    """Of what is at least a third as hot as the hottest (*space)."""
    heat = heat.double() * (heat > heat.max() / 3)
    profiles = [heat.sum([other for other in range(heat.ndim) if other != axis]) for axis in range(heat.ndim)]
    return [float((profile * torch.arange(len(profile))).sum() / profile.sum()) for profile in profiles]


@pytest.mark.parametrize("name", CASES)
def test_the_map_is_where_the_lesion_is(name: str, table: list[str]) -> None:
    axes, size, shift = CASES[name]
    model = network(name, axes)
    cell = explain(model.eval(), torch.zeros(1, 1, *[size] * axes), "hirescam", targets=1).alignment.stride[0]
    images, places = lesions(axes, size, cell)
    model = prepared(model, images[:1]) if name == "vit_small" else positive(model)
    explained = explain(model, torch.cat([images, torch.zeros_like(images[:1])]), "hirescam", targets=1)
    assert (explained.alignment.how, explained.alignment.slack) == ("composed", 0)
    assert abs(explained.alignment.offset[0] - (cell - 1) / 2) == pytest.approx(shift * cell)
    errors: dict[bool, list[float]] = {}
    for exact in (True, False):
        heat = explained.on_input(exact)[:, 0]
        found = [centre((lit - heat[-1]).clamp(min=0)) for lit in heat[:-1]]
        pairs = [pair for some in zip(found, places, strict=True) for pair in zip(*some, strict=True)]
        errors[exact] = [(there - here) / cell for there, here in pairs]
    means, worst = zip(*((sum(e) / len(e), max(map(abs, e))) for e in errors.values()), strict=True)
    table.append(f"{name:32} {cell:5g} {means[0]:+12.3f} {worst[0]:6.3f} {means[1]:+16.3f} {worst[1]:6.3f}")
    assert worst[0] <= 0.25, errors[True]
    assert abs(means[1] - means[0]) == pytest.approx(shift, abs=0.03), "stretching is off by what the offsets say"
    if shift > 0.4:
        assert worst[1] > 0.4, errors[False]
