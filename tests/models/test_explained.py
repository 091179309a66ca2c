"""Every named network under explanation: where its cells lie, and that a planted bright spot is found there."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import Explained, explain
from medcam.models._network import build
from medcam.models._presets import preset

NARROW = {"widths": [8, 8, 8, 8]}
CASES: dict[str, tuple[int, int, dict[str, object]]] = {
    # spatial axes, size, what keeps the test quick
    "resnet18": (2, 224, {}),
    "resnet50": (2, 224, {}),
    "densenet121": (2, 224, {}),
    "efficientnet_b0": (2, 224, {}),
    "mobilenet_v2": (2, 224, {}),
    "mobilenet_v3_large": (2, 224, {}),
    "mobilenet_v3_small": (2, 224, {}),
    "vit_small": (2, 224, {}),
    "vit_b_16": (2, 224, {"pooling": "mean", "depth": 2, "width": 192}),
    "resnet18 in 3-D": (3, 160, NARROW),
    "efficientnet_b0 in 3-D": (3, 128, {"width": 0.25, "output_stride": 16}),
    "mobilenet_v2 in 3-D": (3, 128, {"width": 0.25, "output_stride": 16}),
    "mobilenet_v3_small in 3-D": (3, 128, {"width": 0.5, "output_stride": 16}),
    "vit_small in 3-D": (3, 96, {"depth": 2}),
}
FEATURES = {
    "resnet18": "stages",
    "resnet50": "stages",
    "densenet121": "relu",
    "efficientnet_b0": "last",
    "mobilenet_v2": "last",
    "mobilenet_v3_large": "wide",
    "mobilenet_v3_small": "wide",
    "vit_small": "norm",
    "vit_b_16": "norm",
}
"""What the class map of each is made of, which is what "auto" picks."""


def blob(place: tuple[int, ...], size: int, sigma: float) -> Tensor:
    """A Gaussian spot in a dark image (1, 1, *space)."""
    axes = torch.meshgrid(*[torch.arange(size)] * len(place), indexing="ij")
    return torch.exp(-sum((axis - at) ** 2 for axis, at in zip(axes, place, strict=True)) / (2 * sigma**2))[None, None]


def prepared(network: nn.Module, image: Tensor) -> nn.Module:
    """Kernels that average, so that each cell answers to what lies around it; a head that asks for the spot's features.

    Transformers are left as they begin, but for the normalisation in their stem.
    """
    tokens = hasattr(network, "position")
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and tokens:
                module.momentum = None  # statistics of one batch
            if isinstance(module, nn.Conv2d | nn.Conv3d) and not tokens:
                kernel = module.weight.abs()
                module.weight.copy_(kernel / kernel.flatten(1).sum(1).reshape(-1, *[1] * (kernel.ndim - 1)))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if tokens:
            network.train()(torch.cat([image, image.flip(-1), torch.zeros_like(image)]))
        network.eval()
        spot = (network.feature_map(image) - network.feature_map(torch.zeros_like(image)))[0].flatten(1)  # (F, cells)
        asked = spot[:, spot.norm(dim=0).argmax()]
        network.head.map.weight[1] = (asked / asked.norm()).reshape(-1, *[1] * (image.ndim - 2))
    return network


def centre(lit: Explained, dark: Explained) -> list[float]:
    """Of what the spot added to the map, on the input."""
    heat = (lit.on_input(True) - dark.on_input(True))[0, 0].double()
    heat = heat * (heat > 0.3 * heat.max())
    profiles = [heat.sum([other for other in range(heat.ndim) if other != axis]) for axis in range(heat.ndim)]
    return [float((profile * torch.arange(len(profile))).sum() / profile.sum()) for profile in profiles]


@pytest.mark.parametrize("case", CASES)
def test_a_planted_spot_is_where_the_map_says(case: str) -> None:
    axes, size, more = CASES[case]
    torch.manual_seed(0)
    name = case.split()[0]
    network = build({"network_def": preset(name, spatial_dims=axes, out_channels=2, size=size, **more)})
    places = [(0.43, 0.55, 0.47), (0.52, 0.46, 0.51)]
    images = [blob(tuple(int(at * size) for at in place[:axes]), size, size / 32) for place in places]
    prepared(network, images[0])
    dark = explain(network, torch.zeros_like(images[0]), "hirescam", targets=1)
    assert (dark.layer, dark.alignment.how, dark.alignment.slack) == (FEATURES[name], "composed", 0)
    for image, place in zip(images, places, strict=True):
        lit = explain(network, image, "hirescam", targets=1)
        bias = network.head.bias[1].detach()
        torch.testing.assert_close(lit.evidence.sum(), lit.scores[0, 0] - bias, rtol=1e-4, atol=1e-5)
        for found, at, stride in zip(centre(lit, dark), place[:axes], lit.alignment.stride, strict=True):
            assert abs(found - int(at * size)) <= 0.25 * stride, (found, int(at * size), lit.alignment)
