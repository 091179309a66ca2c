"""Grad-CAM against the paper's formula on the full graph, against captum, and against hand-computed answers."""

import pytest
import torch
from captum.attr import LayerGradCam
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import Tensor, nn

from medcam.explainers import explain
from tests.explainers.nets import Flat, Linear


def by_the_paper(model: nn.Module, layer: str, x: Tensor, target: int) -> Tensor:
    """Equations 1 and 2 for one image after another, with loops over channels, on the graph of the whole network."""
    maps = []
    for image in x:
        seen: list[Tensor] = []
        handle = model.get_submodule(layer).register_forward_hook(lambda m, a, output, seen=seen: seen.append(output))
        score = model(image[None])[0, target]
        handle.remove()
        (gradient,) = torch.autograd.grad(score, seen[0])
        total = torch.zeros(seen[0].shape[2:])
        for channel in range(seen[0].shape[1]):
            total += gradient[0, channel].mean() * seen[0][0, channel]
        maps.append(total.detach())
    return torch.stack(maps)


@pytest.mark.parametrize(("axes", "kind"), [(2, Linear), (3, Linear), (2, Flat), (3, Flat)])
def test_equals_the_paper_on_the_full_graph(axes: int, kind: type[nn.Module]) -> None:
    model = kind(axes).eval()
    x = torch.randn(3, 1, *[16] * axes)
    layer = "body" if kind is Linear else "conv"
    explained = explain(model, x, targets="all", layer=layer)
    for target in range(3):
        torch.testing.assert_close(
            explained.evidence[:, target], by_the_paper(model, layer, x, target), atol=1e-6, rtol=1e-5
        )


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("kind", ["resnet", "densenet"])
def test_equals_the_paper_on_monai_networks(kind: str, axes: int) -> None:
    from monai.networks.nets import DenseNet121, ResNet

    torch.manual_seed(0)
    if kind == "resnet":
        model = ResNet("basic", [1, 1, 1, 1], [8, 16, 24, 32], spatial_dims=axes, n_input_channels=1, num_classes=3)
        size, layer = 48, "layer4"
    else:
        model = DenseNet121(axes, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2))
        size, layer = 64, "class_layers.relu"
    model.eval()
    x = torch.randn(2, 1, *[size] * axes)
    explained = explain(model, x, targets=[2, 0])
    assert explained.layer == layer
    for sample, target in enumerate((2, 0)):
        expected = by_the_paper(model, layer, x[sample : sample + 1], target)[0]
        torch.testing.assert_close(explained.evidence[sample, 0], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
def test_equals_captum(axes: int) -> None:
    model = Flat(axes).eval()
    x = torch.randn(3, 1, *[16] * axes)
    targets = torch.tensor([2, 0, 1])
    ours = explain(model, x, targets=targets, layer="conv").evidence
    theirs = LayerGradCam(model, model.conv).attribute(x, targets, relu_attributions=False)
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-6)


def test_captums_published_answers() -> None:
    """Of captum's tests/attr/layer/test_grad_cam.py."""
    model = BasicModel_ConvNet_One_Conv()
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    conv = explain(model, x, targets=0, layer="conv1").evidence[0, 0]
    relu = explain(model, x, targets=0, layer=model.relu1).evidence[0, 0]
    assert conv.tolist() == [[11.25, 13.5], [20.25, 22.5]]
    assert relu.tolist() == [[0.0, 4.0], [28.0, 32.5]]


def test_cells_add_up_to_the_logit_less_its_bias() -> None:
    model = Linear().eval()
    x = torch.randn(2, 1, 16, 16)
    explained = explain(model, x, targets="all")
    torch.testing.assert_close(explained.evidence.sum((2, 3)), explained.scores - model.fc.bias.detach())


def test_counterfactual_is_the_negated_map() -> None:
    """Mean of the negated gradient (Selvaraju et al., section 3.3) on a single-logit head: class 0 is -z."""
    model = Linear(classes=1).eval()
    both = explain(model, torch.randn(2, 1, 16, 16), targets="all").evidence
    torch.testing.assert_close(both[:, 0], -both[:, 1])


def test_rolling_the_input_rolls_the_map() -> None:
    """A convolutional network with circular padding, moved by its own stride."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1, padding_mode="circular"), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    x = torch.randn(1, 1, 12, 12)
    straight = explain(model, x, targets=1).evidence
    rolled = explain(model, x.roll((4, 2), (2, 3)), targets=1).evidence
    torch.testing.assert_close(straight.roll((2, 1), (2, 3)), rolled)


def test_permuted_channels_change_nothing() -> None:
    model = Linear().eval()
    x = torch.randn(2, 1, 16, 16)
    before = explain(model, x, targets="all", layer="act").evidence
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    with torch.no_grad():
        model.body.weight.copy_(model.body.weight[order])
        model.body.bias.copy_(model.body.bias[order])
        model.fc.weight.copy_(model.fc.weight[:, order])
    torch.testing.assert_close(before, explain(model, x, targets="all", layer="act").evidence)


def test_a_flat_volume_is_an_image() -> None:
    """A network with kernels one voxel deep on a volume of one slice gives the image's map."""
    plane, volume = Linear(2).eval(), Linear(3).eval()
    with torch.no_grad():
        for name in ("stem", "body"):
            new = nn.Conv3d(*plane.get_submodule(name).weight.shape[1::-1], (1, 3, 3), (1, 2, 2), (0, 1, 1))
            new.weight.copy_(plane.get_submodule(name).weight[:, :, None])
            new.bias.copy_(plane.get_submodule(name).bias)
            setattr(volume, name, new)
        volume.fc.load_state_dict(plane.fc.state_dict())
    x = torch.randn(2, 1, 16, 16)
    flat = explain(plane, x, targets="all").evidence
    deep = explain(volume, x[:, :, None], targets="all").evidence
    torch.testing.assert_close(flat, deep[:, :, 0])
