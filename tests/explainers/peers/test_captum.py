"""captum's published answers beyond those of tests/explainers/test_gradcam.py, and its ways to ask."""

import pytest
import torch
from captum.attr import LayerGradCam
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers._capture import Tap
from medcam.explainers.occlusion import Occlusion
from tests.explainers.nets import Flat


class Two(nn.Module):
    """A model of two inputs as a model of one: explained is the first, the second is given."""

    def __init__(self, model: nn.Module, second: Tensor) -> None:
        super().__init__()
        self.model, self.second = model, second

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, self.second)


def sixteen() -> Tensor:
    return torch.arange(16.0).reshape(1, 1, 4, 4)


@pytest.mark.parametrize("inplace", [False, True])
def test_published_answer_for_two_inputs(inplace: bool) -> None:
    """Of tests/attr/layer/test_grad_cam.py (two inputs) and tests/attr/test_guided_grad_cam.py (in-place ReLU)."""
    model = Two(BasicModel_ConvNet_One_Conv(inplace), torch.ones(1, 1, 4, 4))
    expected = [[14.5, 19.0], [32.5, 37.0]]
    assert explain(model, sixteen(), targets=0, layer="model.conv1").evidence[0, 0].tolist() == expected
    before_relu = explain(model, sixteen(), targets=0, layer=Tap("model.relu1", role="input"))
    assert before_relu.evidence[0, 0].tolist() == expected


def test_published_answer_at_a_layers_input() -> None:
    """0.5625 x the input; what is negative stays negative, and the display shows none of it."""
    x = sixteen()
    x[0, 0, 1, 1] = -4
    explained = explain(BasicModel_ConvNet_One_Conv(), x, targets=0, layer=Tap("conv1", role="input"))
    torch.testing.assert_close(explained.evidence, 0.5625 * x)
    assert explained.display()[0, 0, 1, 1] == 0


def test_published_answer_of_a_frozen_model() -> None:
    model = BasicModel_ConvNet_One_Conv().requires_grad_(False)
    assert explain(model, sixteen(), targets=0, layer="conv1").evidence[0, 0].tolist() == [[11.25, 13.5], [20.25, 22.5]]


def test_the_answers_to_targets_of_each_sample_are_captums() -> None:
    """(B, K) targets in one call; captum is asked once for each of K."""
    model, x = Flat().eval(), torch.randn(4, 1, 16, 16)
    targets = torch.tensor([[0, 2], [1, 0], [2, 1], [0, 1]])
    ours = explain(model, x, targets=targets, layer="conv").evidence
    for k in range(2):
        theirs = LayerGradCam(model, model.conv).attribute(x, targets[:, k], relu_attributions=False)
        torch.testing.assert_close(ours[:, k : k + 1], theirs.detach(), atol=1e-6, rtol=1e-6)


def test_captum_stretches_to_nearest_by_default_and_we_place_exactly() -> None:
    """A network whose cell i sits at 4 i: one bright pixel there lights the map there, not 1.5 pixels further on."""
    from captum.attr import LayerAttribution

    model = nn.Sequential(nn.Conv2d(1, 1, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.zero_()
    x = torch.zeros(1, 1, 32, 32)
    x[0, 0, 16, 12] = 1
    explained = explain(model, x, targets=1, layer="1")
    ours = explained.on_input()[0, 0]
    theirs = LayerAttribution.interpolate(LayerGradCam(model, model[1]).attribute(x, 0).detach(), (32, 32))[0, 0]
    assert centre(ours) == pytest.approx((16, 12), abs=1e-3)
    assert centre(theirs) == pytest.approx((17.5, 13.5), abs=1e-3)


def centre(maps: Tensor) -> tuple[float, float]:
    places = torch.arange(32.0)
    return float((maps.sum(1) * places).sum() / maps.sum()), float((maps.sum(0) * places).sum() / maps.sum())


def test_published_answer_of_occlusion() -> None:
    """Of tests/attr/test_occlusion.py: one window over everything, two inputs."""
    model = Two(BasicModel_ConvNet_One_Conv(), torch.ones(1, 1, 4, 4))
    assert explain(model, sixteen(), Occlusion(4, 4, hidden=0.0), 0).evidence.flatten().tolist() == [67.0]


@pytest.mark.parametrize("axes", [2, 3])
def test_occlusion_by_windows_side_by_side_is_captums(axes: int) -> None:
    """captum writes each drop into all cells of its window; ours stands at the window's centre."""
    import captum.attr

    model, x = Flat(axes).eval(), torch.randn(2, 1, *[16] * axes)
    targets = torch.tensor([2, 0])
    ours = explain(model, x, Occlusion(4, 4, hidden=0.0), targets).evidence
    theirs = captum.attr.Occlusion(model).attribute(
        x, (1, *[4] * axes), (1, *[4] * axes), baselines=0.0, target=targets, perturbations_per_eval=8
    )
    every = (slice(None), slice(None), *[slice(1, None, 4)] * axes)
    torch.testing.assert_close(ours, theirs[every], atol=1e-5, rtol=1e-5)
