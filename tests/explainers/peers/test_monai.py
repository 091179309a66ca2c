"""MONAI 1.6's visualisers: equal in what they compute for one image, wrong for batches, and drawn upside down."""

import copy

import pytest
import torch
from monai.networks.nets import DenseNet, DenseNet121, SEResNet50
from monai.visualize import CAM, GradCAM, GradCAMpp, OcclusionSensitivity
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers.occlusion import Occlusion
from tests.explainers.nets import Flat, Linear
from tests.explainers.slow import seen

SMALL = {"init_features": 2, "growth_rate": 2, "block_config": (6,)}


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def raw(kind: type, model: nn.Module, layer: str, x: Tensor, target: object, **more: object) -> Tensor:
    """(B, 1, *s): their map before stretching and turning upside down."""
    x = x.clone().requires_grad_()  # at a first layer their hook warns if it does not
    return kind(copy.deepcopy(model), layer, **more).compute_map(x, class_idx=target).detach()


@pytest.mark.parametrize("axes", [2, 3])
def test_grad_cam_of_one_image(axes: int) -> None:
    model = Flat(axes).eval()
    for target in range(3):
        x = torch.randn(1, 1, *[16] * axes)
        ours = explain(model, x, targets=target, layer="conv").evidence
        torch.testing.assert_close(ours.clamp(min=0), raw(GradCAM, model, "conv", x, target), atol=1e-6, rtol=1e-6)


def test_a_batch_of_theirs_mixes_the_samples() -> None:
    """Each sample gets the gradient of the sum of all samples' classes: right for none of them."""
    model, x, targets = Flat().eval(), torch.randn(4, 1, 16, 16), [2, 0, 1, 0]
    ours = explain(model, x, targets=targets, layer="conv").evidence[:, 0]
    theirs = raw(GradCAM, model, "conv", x, torch.tensor(targets))[:, 0]
    everything = explain(model, x, targets="all", layer="conv").evidence
    for row, target in enumerate(targets):
        alone = raw(GradCAM, model, "conv", x[row : row + 1], target)[0, 0]
        torch.testing.assert_close(ours[row].clamp(min=0), alone, atol=1e-6, rtol=1e-6)
        mixed = sum(everything[row, other] for other in targets)
        torch.testing.assert_close(theirs[row], mixed.clamp(min=0), atol=1e-6, rtol=1e-5)
        assert float((theirs[row] - alone).abs().max()) > 0.5 * float(alone.max())


def test_predicted_classes_of_their_batch_are_mixed_too() -> None:
    torch.manual_seed(3)
    model, x = Flat().eval(), torch.randn(6, 1, 16, 16) * 3
    assert len(set(model(x).argmax(1).tolist())) > 1
    ours = explain(model, x, layer="conv").evidence.clamp(min=0)
    alone = torch.cat([raw(GradCAM, model, "conv", image[None], None) for image in x])
    torch.testing.assert_close(ours, alone, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(raw(GradCAM, model, "conv", x, None), alone, atol=1e-3)


def test_cam_keeps_the_bias_in_every_cell() -> None:
    """Theirs is the linear layer at each cell: as many times ours as there are cells, and the bias on top."""
    model, x = Linear().eval(), torch.randn(3, 1, 16, 16)
    targets = torch.tensor([1, 0, 2])
    theirs = raw(CAM, model, "act", x, targets, fc_layers="fc")
    ours = explain(model, x, "cam", targets, "act").evidence
    bias = model.fc.bias.detach()[targets].reshape(3, 1, 1, 1)
    torch.testing.assert_close(theirs, 16 * ours + bias, atol=1e-6, rtol=1e-5)


def test_grad_cam_plus_plus_has_the_cube_inside_the_sum() -> None:
    """One formula where the gradient is the same everywhere; another one elsewhere; infinite for a large logit."""
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(100)  # their 1e-7 does not count
    ours = explain(model, x, "gradcam_plus_plus", 1, "act").evidence
    theirs = raw(GradCAMpp, model, "act", x, 1)
    assert torch.isfinite(theirs).all()
    torch.testing.assert_close(ours / ours.max(), theirs / theirs.max(), atol=1e-4, rtol=1e-3)

    flat, x = Flat().eval(), torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        flat.fc.weight.mul_(30)
        flat.conv.weight.abs_()
    ours, theirs = explain(flat, x, "gradcam_plus_plus", 1, "conv").evidence, raw(GradCAMpp, flat, "conv", x, 1)
    assert float((ours / ours.max() - theirs / theirs.max()).abs().max()) > 0.01

    with torch.no_grad():
        model.fc.bias.fill_(100.0)
    assert not torch.isfinite(raw(GradCAMpp, model, "act", x, 1)).all()
    assert torch.isfinite(explain(model, x, "gradcam_plus_plus", 1, "act").evidence).all()


def test_their_picture_is_upside_down_and_red_where_nothing_is() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    explained = explain(model, x, targets=1, layer="act")
    theirs = torch.as_tensor(GradCAM(copy.deepcopy(model), "act")(x, class_idx=1))
    hottest = explained.on_input(align=False).flatten().argmax()
    assert float(theirs.flatten()[hottest]) == 0
    assert float(theirs.max()) == 1
    with torch.no_grad():
        model.fc.weight.zero_()
    empty = torch.as_tensor(GradCAM(copy.deepcopy(model), "act")(x, class_idx=1))
    assert len(empty.unique()) == 1  # one value for the whole image, the one that stands for "most" in all other images
    assert float(empty[0, 0, 0, 0]) == 0
    assert "exactly zero" in explain(model, x, targets=1, layer="act").flags[0, 0][0]


def test_their_hooks_stay() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    explain(model, x, targets=1, layer="act")
    assert not model.act._forward_hooks
    GradCAM(model, "act")(x)
    assert model.act._forward_hooks


class Adjoint(DenseNet121):
    """MONAI's own test network, which wants to be told a number."""

    def __call__(self, x: Tensor, adjoint_info: int) -> Tensor:
        if adjoint_info != 42:
            raise ValueError(adjoint_info)
        return super().__call__(x)


class Told(nn.Module):
    """A model of one tensor, as `explain` wants it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, adjoint_info=42)


CASES = {
    "densenet2d": (lambda: DenseNet121(2, 1, 3), (2, 1, 48, 64), (1, 2), "class_layers.relu"),
    "densenet2d_bin": (lambda: DenseNet(2, 1, 1), (2, 1, 48, 64), (1, 2), "class_layers.relu"),
    "densenet3d": (lambda: DenseNet(3, 1, 3, **SMALL), (2, 1, 6, 6, 6), (2, 2, 2), "class_layers.relu"),
    "densenet3d_bin": (lambda: DenseNet(3, 1, 1, **SMALL), (2, 1, 6, 6, 6), (2, 2, 2), "class_layers.relu"),
    "senet2d": (lambda: SEResNet50(spatial_dims=2, in_channels=3, num_classes=4), (2, 3, 64, 64), (2, 2), "layer4"),
    "senet2d_bin": (lambda: SEResNet50(spatial_dims=2, in_channels=3, num_classes=1), (2, 3, 64, 64), (2, 2), "layer4"),
    "senet3d": (
        lambda: SEResNet50(spatial_dims=3, in_channels=3, num_classes=4),
        (2, 3, 8, 8, 48),
        (1, 1, 2),
        "layer4",
    ),
    "senet3d_bin": (
        lambda: SEResNet50(spatial_dims=3, in_channels=3, num_classes=1),
        (2, 3, 8, 8, 48),
        (1, 1, 2),
        "layer4",
    ),
    "adjoint": (lambda: Told(Adjoint(2, 1, 3)), (2, 1, 48, 64), (1, 2), "model.class_layers.relu"),
}
"""The cases of MONAI's tests/visualize/test_vis_cam.py and test_vis_gradcam.py, whose tests look at shapes."""


@pytest.mark.parametrize("case", CASES)
def test_monais_own_cases_by_value(case: str) -> None:
    """Grad-CAM and Grad-CAM++ of the predicted class, image by image, from the graph of the whole network."""
    build, shape, cells, layer = CASES[case]
    torch.manual_seed(0)
    model, x = build().eval(), images(*shape)
    found = explain(model, x, ["gradcam", "gradcam_plus_plus"], layer=layer)
    logits = model(x).detach()
    assert found["gradcam"].evidence.shape == (2, 1, *cells)
    assert found["gradcam"].on_input().shape == (2, 1, *shape[2:])
    for row in range(2):
        sign = 1.0
        if logits.shape[1] == 1:  # one logit: against it where it is negative, where MONAI always takes it as it is
            sign = 1.0 if logits[row, 0] > 0 else -1.0
        activation, gradient = seen(model, layer, x[row : row + 1], int(logits[row].argmax()))
        gradient = (sign * gradient).double()
        plain = torch.zeros(cells, dtype=torch.float64)
        weighted = torch.zeros(cells, dtype=torch.float64)
        for channel, map_ in enumerate(activation.double()):
            plain += gradient[channel].mean() * map_
            weight = 0.0
            for g in gradient[channel].flatten().tolist():
                weight += g / (2 + g * float(map_.sum())) if g > 0 else 0.0
            weighted += weight * map_
        for name, expected in (("gradcam", plain), ("gradcam_plus_plus", weighted.clamp(min=0))):
            ours = found[name].evidence[row, 0]
            torch.testing.assert_close(ours, expected.float(), rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_monais_case_of_a_half_frozen_network() -> None:
    """Their test_ill expects an IndexError; ours explains it as if nothing were frozen."""
    torch.manual_seed(0)
    model, x = DenseNet121(2, 1, 3).eval(), images(1, 1, 48, 64)
    expected = explain(model, x).evidence
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("features" not in name)
    assert torch.equal(explain(model, x).evidence, expected)
    with pytest.raises(IndexError), pytest.warns(UserWarning, match="not triggered"):
        GradCAM(model, "class_layers.relu")(x)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_their_occlusion_tells_what_is_left_of_a_probability_by_the_inputs_channels() -> None:
    """One input channel: a sigmoid of each of three logits. Ours tells by how much the logit itself falls."""
    model, x = Flat().eval(), torch.randn(1, 1, 16, 16)
    left, _ = OcclusionSensitivity(model, mask_size=4, overlap=0.0, mode="mean_img", verbose=False)(x)
    ours = explain(model, x, Occlusion(4, 4), "all").evidence
    logits = model(x).detach()
    for target in range(3):
        expected = torch.sigmoid(logits[0, target] - ours[0, target])
        at = (0, target, slice(1, None, 4), slice(1, None, 4))
        torch.testing.assert_close(torch.as_tensor(left)[at], expected, atol=1e-4, rtol=1e-4)
