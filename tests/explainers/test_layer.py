"""Which layer is explained, and what "auto" picks."""

import pytest
import torch
from torch import nn

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.explainers._layer import find
from medcam.explainers._trace import trace
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


class ClassMap(nn.Module):
    """Features, a class map of them by a 1x1 convolution, and its mean."""

    def __init__(self, classes: int, after: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU())
        self.drop, self.score, self.after = nn.Dropout2d(0.5), nn.Conv2d(6, classes, 1, bias=False), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.score(self.drop(self.features(x)))).mean((2, 3))


@pytest.mark.parametrize("after", [nn.Identity(), nn.Softplus()])
def test_auto_is_what_a_class_map_is_made_of(after: nn.Module) -> None:
    explained = explain(ClassMap(2, after).eval(), torch.randn(1, 1, 16, 16))
    assert explained.layer == "features"
    assert any("picked features, 8 x 8 cells, the features before the class map score" in n for n in explained.notes)
    assert picked(ClassMap(6, after), 1, 1, 16, 16) == ("after" if isinstance(after, nn.Softplus) else "score")


def test_gradcam_of_the_features_is_that_of_the_class_map() -> None:
    model, x = ClassMap(3, nn.Identity()).eval(), torch.randn(2, 1, 16, 16)
    auto, of_map = (explain(model, x, "gradcam", "all", layer=layer) for layer in ("auto", "score"))
    torch.testing.assert_close(auto.evidence, of_map.evidence)


def test_auto_on_networks_of_monai_is_the_last_map_before_pooling() -> None:
    from monai.networks import nets

    small = {"spatial_dims": 2, "in_channels": 1, "num_classes": 3}
    resnet = {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 3}
    narrow = {"init_features": 4, "growth_rate": 2, "block_config": (1, 2, 2, 1)}
    unet = nets.UNet(2, 1, 3, (4, 8, 16), (2, 2))
    last = {
        "layer4": (
            nets.ResNet("basic", [1] * 4, [4, 4, 8, 8], **resnet),
            nets.SEResNet50(layers=(1, 1, 1, 1), **small),
        ),
        "class_layers.relu": (nets.DenseNet(2, 1, 3, **narrow),),
        "_swish (call 2)": (nets.EfficientNetBN("efficientnet-b0", pretrained=False, **small),),
        "net": (nets.Classifier((1, 64, 64), 3, (4, 8), (2, 2)), nets.Regressor((1, 64, 64), (3,), (4, 8), (2, 2))),
        "model.1.submodule.1": (unet,),
        "down_4": (nets.BasicUNet(2, 1, 3, features=(4, 4, 8, 8, 16, 4)),),
        "bottleneck": (nets.DynUNet(2, 1, 3, (3, 3, 3), (1, 2, 2), (2, 2)),),
    }
    x = torch.zeros(1, 1, 64, 64)
    for wanted, models in last.items():
        for model in models:
            tap, said = find(model, trace(model.eval(), x), "auto", 2)
            assert str(tap) == wanted
            assert f"picked {tap.module}" in said


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
