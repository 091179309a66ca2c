"""Which layer is explained, and what "auto" picks."""

import pytest
import torch
from torch import nn

from medcam.errors import ExplainError
from medcam.explainers import explain
from tests.explainers.nets import Flat, FrameWise, Linear, Twice


def picked(model: nn.Module, *shape: int) -> str:
    return explain(model.eval(), torch.randn(shape)).layer


def test_auto_is_the_last_map_before_pooling() -> None:
    assert picked(Linear(), 1, 1, 16, 16) == "act"
    assert picked(Flat(), 1, 1, 16, 16) == "conv"
    assert picked(FrameWise(Linear()), 1, 1, 4, 16, 16) == "image.act"
    assert picked(Twice(), 1, 3, 8, 8) == "conv (call 2)"


def test_auto_passes_over_dropout_pooling_and_small_gates() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
            self.pool, self.drop, self.fc = nn.AdaptiveAvgPool2d(2), nn.Dropout2d(0.5), nn.Linear(16, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.conv(x))
            x = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
            return self.fc(self.pool(self.drop(x)).flatten(1))

    assert picked(Gated(), 1, 1, 16, 16) == "conv"


def test_auto_on_a_segmentation_network_is_the_bottleneck() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, 2, 1), nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU(), nn.Upsample(scale_factor=4), nn.Conv2d(4, 2, 1)
    )
    explained = explain(net, torch.randn(1, 1, 16, 16), targets=1)
    assert explained.layer == "2"
    assert any("picked 2, 4 x 4 cells" in note for note in explained.notes)


def test_a_module_and_its_name_are_the_same() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(explain(model, x, layer=model.stem).evidence, explain(model, x, layer="stem").evidence)


def test_a_module_with_two_names_is_found_by_either() -> None:
    model = Linear().eval()
    model.also = model.stem
    x = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(explain(model, x, layer="also").evidence, explain(model, x, layer="stem").evidence)


def test_a_model_without_any_map() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ExplainError) as error:
        explain(model, torch.randn(1, 1, 8, 8))
    assert error.value.code == "no-spatial-axes"
