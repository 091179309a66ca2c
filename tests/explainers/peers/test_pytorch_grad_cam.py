"""pytorch-grad-cam (1.5.7): equal where the formulas agree, and each difference stated where they do not."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import SHELF, explain
from medcam.explainers.ablationcam import AblationCAM
from medcam.explainers.base import Method
from medcam.explainers.eigencam import EigenCAM
from medcam.explainers.eigengradcam import EigenGradCAM
from medcam.explainers.scorecam import ScoreCAM
from tests.explainers.nets import Flat, Linear

TARGETS = [2, 0, 1]


def asked(package: Any, targets: list[int]) -> list[Any]:
    return [package.utils.model_targets.ClassifierOutputTarget(target) for target in targets]


def raw(package: Any, kind: str, model: nn.Module, layer: str, x: Tensor, targets: list[int]) -> Tensor:
    """(B, *s): their map before ReLU, min-max and resizing."""
    model = copy.deepcopy(model)  # they leave it in evaluation mode and empty its gradients
    module = model.get_submodule(layer)
    with getattr(package, kind)(model, [module]) as cam:
        cam(x, asked(package, targets))
        seen = cam.activations_and_grads
        gradients = seen.gradients[0].numpy() if seen.gradients else None
        return torch.as_tensor(
            cam.get_cam_image(x, module, asked(package, targets), seen.activations[0].numpy(), gradients, False)
        )


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def turned(theirs: Tensor, ours: Tensor) -> Tensor:
    """Their maps with the sign of ours, image by image."""
    signs = (theirs * ours).flatten(1).sum(1).sign()
    return theirs * signs.reshape(-1, *[1] * (theirs.ndim - 1))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("GradCAM", "gradcam"),
        ("HiResCAM", "hirescam"),
        ("GradCAMElementWise", "gradcam_elementwise"),
        ("LayerCAM", "layercam"),
        ("XGradCAM", "xgradcam"),
    ],
)
def test_one_formula(grad_cam: Any, kind: str, name: str, axes: int) -> None:
    """On a network whose gradient differs from cell to cell, each image with its own class."""
    model, x = Flat(axes).eval(), image(3, 1, *[16] * axes)
    theirs = raw(grad_cam, kind, model, "conv", x, TARGETS)
    ours = explain(model, x, name, TARGETS, "conv")
    theirs = theirs if ours.signed else theirs.clamp(min=0)  # their ReLU comes later
    torch.testing.assert_close(ours.evidence[:, 0], theirs, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("kind", "method"), [("EigenCAM", EigenCAM), ("EigenGradCAM", EigenGradCAM)])
def test_one_component_up_to_its_sign_if_centred(grad_cam: Any, kind: str, method: Any, axes: int) -> None:
    model, x = Flat(axes).eval(), image(3, 1, *[16] * axes)
    ours = explain(model, x, method(centre=True), TARGETS, "conv").evidence[:, 0]
    theirs = raw(grad_cam, kind, model, "conv", x, TARGETS)
    torch.testing.assert_close(turned(theirs, ours), ours, atol=1e-4 * float(ours.abs().max()), rtol=1e-3)


def test_they_always_centre_eigencam_and_we_do_not_where_nothing_is_negative(grad_cam: Any) -> None:
    """One map in all channels, with strengths: the paper's answer is that map; theirs is less its mean."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    strengths = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        model[0].weight.copy_(strengths.reshape(4, 1, 1, 1))
        model[0].bias.zero_()
    x = image(1, 1, 8, 8).abs()
    ours = explain(model, x, "eigencam", 0, "1").evidence[0, 0]
    torch.testing.assert_close(ours, strengths.norm() * x[0, 0])
    theirs = raw(grad_cam, "EigenCAM", model, "1", x, [0])[0]
    torch.testing.assert_close(turned(theirs[None], ours[None])[0], ours - ours.mean(), atol=1e-4, rtol=1e-3)


def test_their_sign_of_a_component_is_chance(grad_cam: Any) -> None:
    """Four channels that all light up in one block: of 20 such images some are cold there in theirs, none in ours."""
    model = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    x = image(20, 4, 6, 6).abs() * 0.3
    x[:, :, 1:3, 1:3] += torch.rand(20, 4, 1, 1, generator=torch.Generator().manual_seed(1))
    inside = torch.zeros(6, 6, dtype=torch.bool)
    inside[1:3, 1:3] = True

    def cold(maps: Tensor) -> int:
        return int((maps[:, inside].mean(1) < maps[:, ~inside].mean(1)).sum())

    assert cold(explain(model, x, EigenCAM(centre=True), 0, "0").evidence[:, 0]) == 0
    assert cold(raw(grad_cam, "EigenCAM", model, "0", x, [0] * 20)) > 0


def test_their_epsilon_outweighs_small_gradients_in_grad_cam_plus_plus(grad_cam: Any) -> None:
    """The paper's equation has none. With gradients a thousand times as large theirs does not count, and both agree."""
    model, x = Linear().eval(), image(3, 1, 32, 32)
    large = copy.deepcopy(model)
    with torch.no_grad():
        large.fc.weight.mul_(1000)

    def apart(net: nn.Module) -> float:
        ours = explain(net, x, "gradcam_plus_plus", TARGETS, "act").evidence[:, 0]
        theirs = raw(grad_cam, "GradCAMPlusPlus", net, "act", x, TARGETS).clamp(min=0)
        return float((ours / ours.amax((1, 2), keepdim=True) - theirs / theirs.amax((1, 2), keepdim=True)).abs().max())

    assert apart(large) < 1e-3
    assert apart(model) > 0.002
    weak = copy.deepcopy(model)  # as behind pooling over many cells
    with torch.no_grad():
        weak.fc.weight.mul_(0.01)
    assert apart(weak) > 0.1


def test_where_gradients_are_large_grad_cam_plus_plus_is_one_formula(grad_cam: Any) -> None:
    """Their denominator may be negative where activations are; ours takes positive gradients only."""
    model, x = Flat().eval(), image(3, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(1e4)
        model.conv.weight.abs_()
    x = x.abs()
    ours = explain(model, x, "gradcam_plus_plus", TARGETS, "conv").evidence[:, 0]
    theirs = raw(grad_cam, "GradCAMPlusPlus", model, "conv", x, TARGETS).clamp(min=0)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(ours.max()))


def test_what_they_return_is_our_map_after_relu_min_max_and_half_pixel_stretching(grad_cam: Any) -> None:
    model, x = Linear().eval(), image(2, 1, 32, 32)
    copied = copy.deepcopy(model)
    with grad_cam.GradCAM(copied, [copied.body]) as cam:
        theirs = torch.as_tensor(cam(x, asked(grad_cam, [1, 1])))
    explained = explain(model, x, targets=1, layer="body")
    stretched = min_max(
        torch.nn.functional.interpolate(min_max(explained.evidence.clamp(min=0)), (32, 32), mode="bilinear")
    )[:, 0]
    torch.testing.assert_close(theirs, stretched, atol=1e-4, rtol=1e-4)
    placed = min_max(explained.on_input().clamp(min=0))[:, 0]  # cells sit at 4 i, not at 4 i + 1.5
    assert float((placed - theirs).abs().max()) > 0.1


def min_max(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)
    low, high = flat.amin(2)[..., None, None], flat.amax(2)[..., None, None]
    return (maps - low) / (high - low + 1e-7)


def test_their_maximum_says_nothing_about_strength(grad_cam: Any) -> None:
    model, x = Linear().eval(), image(1, 1, 32, 32)
    weak = copy.deepcopy(model)
    with torch.no_grad():
        weak.fc.weight.mul_(1e-3)
    tops = []
    for net in (model, weak):
        copied = copy.deepcopy(net)
        with grad_cam.GradCAM(copied, [copied.act]) as cam:
            tops.append(float(cam(x, asked(grad_cam, [1])).max()))
    assert min(tops) > 0.99
    strong, faint = (explain(net, x, targets=1).evidence for net in (model, weak))
    torch.testing.assert_close(faint, strong * 1e-3)


def test_their_volumes_are_stretched_from_corner_to_corner_by_cubics(grad_cam: Any) -> None:
    """One hot cell (of 4) at 1: its centre is 8 i + 3.5 = 11.5 of 32 where nothing is padded; theirs is elsewhere."""
    from pytorch_grad_cam.utils.image import scale_cam_image

    cells = np.zeros((1, 4, 4, 4), np.float32)
    cells[0, 1, 1, 1] = 1
    with np.errstate(all="ignore"):
        theirs = torch.as_tensor(scale_cam_image(cells, (32, 32, 32))[0])
    assert float(theirs.min()) < -0.05  # a cubic undershoots: less than no evidence
    kept = theirs.clamp(min=0).sum((1, 2))
    assert abs(float((kept * torch.arange(32)).sum() / kept.sum()) - 11.5) > 0.4

    model = nn.Sequential(nn.Conv3d(1, 1, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    with torch.no_grad():
        model[0].weight.fill_(1)
        model[0].bias.zero_()
    x = torch.zeros(1, 1, 32, 32, 32)
    x[0, 0, 8:16, 8:16, 8:16] = 1
    ours = explain(model, x, targets=1, layer="1").on_input()[0, 0]
    assert float(ours.min()) >= 0
    along = ours.sum((1, 2))
    assert float((along * torch.arange(32)).sum() / along.sum()) == pytest.approx(11.5, abs=0.01)


def test_finercam_weighs_the_others_by_probability(grad_cam: Any) -> None:
    """Theirs: a mean over the others weighted by their softmax, itself differentiated; ours, as torch-cam's, a plain mean."""
    model, x = Linear(classes=5).eval(), image(2, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(20)
    copied = copy.deepcopy(model)
    with grad_cam.FinerCAM(copied, [copied.act]) as cam:
        cam(x, alpha=0.6)
        seen = cam.base_cam.activations_and_grads
        theirs = cam.base_cam.get_cam_image(x, None, None, seen.activations[0].numpy(), seen.gradients[0].numpy())
    ours = explain(model, x, "finercam").evidence[:, 0]
    logits = model(x).detach()
    everything = explain(model, x, "gradcam", "all").evidence
    for row in range(2):
        order = (logits[row] - logits[row].max()).abs().argsort()
        best, others = order[0], order[1:4]
        plain = everything[row, best] - 0.6 * everything[row, others].mean(0)
        torch.testing.assert_close(ours[row], plain, rtol=1e-3, atol=1e-5)
        assert not torch.allclose(torch.as_tensor(theirs[row]), plain, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "name"), [("ScoreCAM", "scorecam"), ("AblationCAM", "ablationcam"), ("FullGrad", "fullgrad")]
)
def test_what_they_do_to_planes_only_we_do_to_volumes(grad_cam: Any, kind: str, name: str) -> None:
    if name not in SHELF.names():
        pytest.skip(f"there is no {name} yet")
    model, x = Linear(3).eval(), image(1, 1, 16, 16, 16)
    copied = copy.deepcopy(model)
    with pytest.raises((RuntimeError, ValueError, IndexError, AssertionError, NotImplementedError)):
        raw(grad_cam, kind, copied, "act", x, [1])
    member: type[Method] = SHELF.load(name)
    evidence = explain(model, x, member, 1, "act").evidence
    assert evidence.ndim == 5
    assert float(evidence.abs().max()) > 0


def test_they_empty_the_gradients_of_a_training_and_leave_it_in_evaluation(grad_cam: Any) -> None:
    model, x = Linear().train(), image(1, 1, 16, 16)
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    explain(model, x)
    assert model.training
    assert float(model.fc.weight.grad.min()) == 1
    with grad_cam.GradCAM(model, [model.act]) as cam:
        cam(x, None)
    assert not model.training
    assert model.fc.weight.grad is None or float(model.fc.weight.grad.min()) != 1


def test_they_cannot_explain_a_frozen_model(grad_cam: Any) -> None:
    model, x = Linear().eval().requires_grad_(False), image(1, 1, 16, 16)
    with pytest.raises((RuntimeError, AttributeError, IndexError, TypeError, ValueError)):
        with grad_cam.GradCAM(model, [model.act]) as cam:
            cam(x, asked(grad_cam, [1]))
    assert explain(model, x, targets=1).evidence.abs().max() > 0


def test_ablationcam_is_one_formula_behind_a_relu(grad_cam: Any) -> None:
    """Where every channel is zero somewhere and the score is positive; theirs runs the whole network for each channel."""
    model, x = Linear().eval(), image(3, 1, 32, 32)
    with torch.no_grad():
        model.fc.bias.fill_(5)  # positive scores
    theirs = raw(grad_cam, "AblationCAM", model, "act", x, TARGETS)
    ours = explain(model, x, AblationCAM(relative=True), TARGETS, "act").evidence[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_ablationcam_puts_minus_ten_million_where_nothing_is_zero(grad_cam: Any) -> None:
    """Ours asks what the paper asks, also of signed activations: the score without the channel."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    x = image(1, 1, 16, 16)
    theirs = raw(grad_cam, "AblationCAM", model, "1", x, [1])
    ours = explain(model, x, AblationCAM(relative=True), 1, "1").evidence[:, 0]
    assert float(ours.abs().max()) < 10
    assert float(theirs.abs().max()) > 1e5


def test_scorecam_stretches_masks_from_corner_to_corner(grad_cam: Any) -> None:
    """Ours has them where the cells are; tests of torch-cam have the case where half pixels are exact."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    ).eval()
    with torch.no_grad():
        model[4].weight.mul_(30)
    x = image(1, 1, 18, 18)
    theirs = raw(grad_cam, "ScoreCAM", model, "1", x, [1]).clamp(min=0)
    ours = explain(model, x, ScoreCAM(hidden=0.0), 1, "1").evidence[:, 0]
    assert float((ours - theirs).abs().max()) > 0.01 * float(theirs.max())
