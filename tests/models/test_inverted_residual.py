"""MobileNets and EfficientNet: what their shared blocks compute, by hand; equality with other libraries is elsewhere."""

import pytest
import torch
from torch import nn

from medcam.models._inverted_residual import Gate, InvertedResidual, Row, Style, divisible
from medcam.models._network import build
from medcam.models._presets import preset


@pytest.mark.parametrize(
    ("channels", "rounded"), [(32, 32), (33.6, 32), (36, 40), (3, 8), (24 * 0.35, 8), (16 * 0.75, 16), (18, 24)]
)
def test_channels_are_rounded_as_in_the_papers(channels: float, rounded: int) -> None:
    """To the nearest multiple of eight, halves up, unless that takes away more than a tenth (18 -> 16)."""
    assert divisible(channels) == rounded


@pytest.mark.parametrize("axes", [2, 3])
def test_a_block_by_hand(axes: int) -> None:
    """One channel, all kernels one: the middle of an image of ones sees 3^axes ones, gated, plus the image itself."""
    block = InvertedResidual(Style(axes, epsilon=0.0), 1, Row(3, 2, 1, 1, "relu6", 1), 1).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    x = torch.full((1, 1, *[5] * axes), 0.1)
    wide = (
        torch.nn.functional.conv2d(x, torch.full((1, 1, 3, 3), 1.0), padding=1)
        if axes == 2
        else (torch.nn.functional.conv3d(x, torch.full((1, 1, 3, 3, 3), 1.0), padding=1))
    )
    wide = wide.clamp(max=6)  # both inner channels alike
    gate = ((2 * wide.mean() + 3) / 6).clamp(0, 1)  # reduce adds the two, hard sigmoid
    torch.testing.assert_close(block(x), x + 2 * gate * wide)


def test_a_gate_scales_whole_channels() -> None:
    torch.manual_seed(0)
    gate = Gate(Style(2, gate=("swish", "sigmoid")), 6, 3)
    x = torch.randn(2, 6, 4, 5)
    scale = gate(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1].expand_as(scale))
    assert bool((scale > 0).all() and (scale < 1).all())


@pytest.mark.parametrize(("axes", "stride"), [(2, 16), (2, 8), (3, 16)])
def test_finer_cells_hold_the_coarser_ones_unchanged(axes: int, stride: int) -> None:
    """Dilated instead of strided: every other cell is the very cell of the coarse map, with the same weights."""
    torch.manual_seed(0)
    arguments = {"spatial_dims": axes, "width": 0.35}
    coarse = build({"network_def": preset("mobilenet_v2", **arguments)}).eval()
    fine = build({"network_def": preset("mobilenet_v2", output_stride=stride, **arguments)}).eval()
    fine.load_state_dict(coarse.state_dict())
    image = torch.rand(1, 1, *(96, 128, 64)[:axes])
    every = (slice(None), slice(None), *[slice(None, None, 32 // stride)] * axes)
    with torch.no_grad():
        torch.testing.assert_close(fine.feature_map(image)[every], coarse.feature_map(image))


def test_a_deep_block_is_skipped_as_often_as_it_should_be() -> None:
    torch.manual_seed(0)
    network = build({"network_def": preset("efficientnet_b0", drop_path=0.5)})
    rates = [block.drop_path.drop_prob for block in network.blocks]
    assert rates == pytest.approx([0.5 * number / 16 for number in range(16)])
    last = network.blocks[-2].train()
    x = torch.randn(400, 192, 1, 1)
    skipped = (last(x) == x).flatten(1).all(1).float().mean()
    assert abs(float(skipped) - rates[-2]) < 4 * (rates[-2] * (1 - rates[-2]) / 400) ** 0.5
    assert not bool((last.eval()(x) == x).flatten(1).all(1).any())


def test_the_wide_layer_of_mobilenet_v3_looks_at_each_cell_before_pooling() -> None:
    torch.manual_seed(0)
    network = build({"network_def": preset("mobilenet_v3_small")}).eval()
    image = torch.rand(1, 1, 96, 64)
    with torch.no_grad():
        before = network.last(network.blocks(network.stem(image)))  # (1, 576, 3, 2)
        cells = before.flatten(2)[0].T @ network.wide[0].weight.flatten(1).T + network.wide[0].bias
        features = nn.functional.hardswish(cells).mean(0)
        torch.testing.assert_close(network.embed(image)[0], features)
        logit = features @ network.head.map.weight.flatten() + network.head.bias
        torch.testing.assert_close(network(image)[0], logit)


@pytest.mark.parametrize(
    "definition",
    [preset("mobilenet_v3_large", variant="huge"), preset("efficientnet_b0", padding="reflect")],
)
def test_what_there_is_not_is_refused(definition: dict[str, object]) -> None:
    with pytest.raises(Exception, match="bundle-config"):
        build({"network_def": definition})
