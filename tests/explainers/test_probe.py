"""Places that are measured, on networks whose places are known but hidden from the tracer."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers._alignment import Alignment, align
from medcam.explainers._layer import find
from medcam.explainers._trace import trace
from medcam.models._network import build
from medcam.models._presets import preset
from tests.explainers.nets import FrameWise, Linear, state


class Hidden(nn.Module):
    """The same network behind two flips, which the tracer does not follow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.flip(-1).flip(-1))


def placed(model: nn.Module, x: Tensor, layer: str = "auto") -> Alignment:
    traced = trace(model.eval(), x)
    tap, _ = find(model, traced, layer, x.ndim - 2)
    return align(model, x, traced.call(tap.module, tap.call), "output")[1]


def deepest(known: Alignment, measured: Alignment) -> float:
    """The greatest error of the first and last cell, in cells."""
    errors = []
    for axis, size in enumerate(known.shape):
        for cell in (0, size - 1):
            places = [one.offset[axis] + one.stride[axis] * cell for one in (known, measured)]
            errors.append(abs(places[0] - places[1]) / known.stride[axis])
    return max(errors)


def network(name: str, axes: int) -> nn.Module:
    from monai.networks import nets

    torch.manual_seed(0)
    if name == "instance norm":
        return nets.DynUNet(axes, 1, 2, (3,) * 4, (1, 2, 2, 2), (2,) * 3, filters=(4, 8, 8, 8))
    if name == "same padding":
        return nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=axes, in_channels=1, num_classes=2)
    if name == "squeeze and excitation":
        return nets.SEResNet50(layers=(1, 1, 1, 1), spatial_dims=axes, in_channels=1, num_classes=2)
    narrow = {"resnet18": {"widths": [8] * 4}, "densenet121": {"block_config": (2, 2, 2, 2)}}.get(name, {})
    return build({"network_def": preset(name, spatial_dims=axes, out_channels=2, **narrow)})


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("mobilenet_v3_small", (224, 160)),
        ("mobilenet_v3_small", (97, 97)),  # four cells of 32, the field of each wider than the image
        ("mobilenet_v3_small", (96, 64, 96)),
        ("resnet18", (224, 160)),
        ("densenet121", (224, 160)),
        ("efficientnet_b0", (160, 160)),
        ("same padding", (160, 160)),
        ("squeeze and excitation", (160, 160)),
        ("instance norm", (64, 48)),
    ],
)
def test_measured_places_are_within_an_eighth_of_a_cell_of_the_composed_ones(name: str, space: tuple[int, ...]) -> None:
    model, x = network(name, len(space)), torch.zeros(1, 1, *space)
    known, measured = placed(model, x), placed(Hidden(model), x)
    assert (known.how, measured.how) == ("composed", "measured")
    assert measured.shape == known.shape
    assert measured.stride == pytest.approx(known.stride, rel=0.04)
    assert deepest(known, measured) <= 0.125, (known, measured)


def test_frames_in_the_batch_are_measured_in_time_too() -> None:
    model, clip = FrameWise(Linear()), torch.zeros(1, 1, 6, 32, 32)
    known, measured = placed(model, clip, "image.act"), placed(Hidden(model), clip, "model.image.act")
    assert measured.how == "measured"
    assert deepest(known, measured) <= 0.125, (known, measured)


def test_a_model_is_left_as_it_was_also_where_a_module_has_two_names() -> None:
    """`torch.func.functional_call` of torch 2.13 leaves its stand-in weights in such a module."""
    model = Hidden(Linear())
    model.also = model.model.body
    model.eval()
    before, weight = state(model), model.also.weight
    assert placed(model, torch.zeros(1, 1, 32, 32), "model.act").how == "measured"
    assert state(model) == before
    assert model.also.weight is weight
    assert isinstance(weight, nn.Parameter)


def test_the_model_is_asked_once() -> None:
    passes: list[int] = []
    model, x = Hidden(Linear()).eval(), torch.zeros(1, 1, 32, 32)
    first = placed(model, x, "model.act")
    model.register_forward_hook(lambda m, args, output: passes.append(1))
    assert placed(model, x, "model.act") == first
    assert not passes


def test_what_cannot_be_measured_is_assumed_and_said() -> None:
    """Cells that come from anywhere: pixels are shuffled before the network sees them."""

    class Shuffled(Linear):
        def forward(self, x: Tensor) -> Tensor:
            order = torch.randperm(x[0].numel(), generator=torch.Generator().manual_seed(0))
            return super().forward(x.flatten(1)[:, order].reshape(x.shape))

    explained = explain(Shuffled().eval(), torch.randn(1, 1, 32, 32), targets=0, layer="act")
    assert explained.alignment == Alignment((8, 8), (4.0, 4.0), (1.5, 1.5), "assumed")
    assert any("assumed" in note for note in explained.notes)
