"""torch-cam (0.5.0): equal where the formulas agree, and each difference stated where they do not."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers.finercam import FinerCAM
from medcam.explainers.scorecam import ScoreCAM
from medcam.explainers.smooth_gradcam_plus_plus import SmoothGradCAMPlusPlus
from tests.explainers.nets import Flat, Linear
from tests.explainers.slow import seen

TARGETS = [2, 0, 1]


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def raw(torchcam: Any, kind: str, model: nn.Module, layer: str, x: Tensor, **options: Any) -> Tensor:
    """(B, *s): their map after ReLU and before min-max."""
    model = copy.deepcopy(model)
    with getattr(torchcam, kind)(model, layer, **options) as cam:
        scores = model(x)
        return cam(TARGETS[: len(x)], scores, normalized=False)[0].detach()


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(("kind", "name"), [("GradCAM", "gradcam"), ("LayerCAM", "layercam"), ("XGradCAM", "xgradcam")])
def test_one_formula(torchcam: Any, kind: str, name: str, axes: int) -> None:
    model, x = Flat(axes).eval(), image(3, 1, *[16] * axes)
    ours = explain(model, x, name, TARGETS, "conv").evidence[:, 0].clamp(min=0)
    torch.testing.assert_close(ours, raw(torchcam, kind, model, "conv", x), atol=1e-6, rtol=1e-4)


def test_cam_is_as_many_times_ours_as_there_are_cells(torchcam: Any) -> None:
    model, x = Linear().eval(), image(3, 1, 16, 16)
    theirs = raw(torchcam, "CAM", model, "act", x, fc_layer="fc")
    ours = explain(model, x, "cam", TARGETS, "act").evidence[:, 0]
    torch.testing.assert_close(theirs, 16 * ours, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("strength", "others"), [(0.6, 3), (0.6, 1), (0.0, 3)])
def test_finercam_is_one_formula(torchcam: Any, strength: float, others: int) -> None:
    model, x = Linear(classes=6).eval(), image(3, 1, 16, 16)
    theirs = raw(torchcam, "FinerCAM", model, "act", x, gamma=strength, num_references=others)
    ours = explain(model, x, FinerCAM(strength, others), TARGETS, "act").evidence[:, 0].clamp(min=0)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_their_grad_cam_plus_plus_never_divides(torchcam: Any) -> None:
    """What they return is sum_p ReLU(g)^3 as weight: the division is done on a copy. Ours is the paper's equation."""
    model, x = Flat().eval(), image(3, 1, 16, 16).abs()
    with torch.no_grad():
        model.conv.weight.abs_()
        model.fc.weight.mul_(100)
    theirs = raw(torchcam, "GradCAMpp", model, "conv", x)
    ours = explain(model, x, "gradcam_plus_plus", TARGETS, "conv").evidence[:, 0]
    for row, target in enumerate(TARGETS):
        activation, gradient = seen(model, "conv", x[row : row + 1], target)
        cubes = (gradient.clamp(min=0) ** 3).sum((1, 2))
        undivided = torch.einsum("c,chw->hw", cubes, activation).clamp(min=0)
        torch.testing.assert_close(theirs[row], undivided, rtol=1e-3, atol=1e-5 * float(undivided.max()))
        apart = (ours[row] / ours[row].max() - theirs[row] / theirs[row].max()).abs().max()
        assert apart > 0.01


def test_their_smooth_grad_cam_plus_plus_looks_at_the_last_noisy_copy(torchcam: Any) -> None:
    """At its gradient in the weights, and at its activation in the map; ours at the mean and at the image's own."""
    model, x = Flat().eval(), image(1, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(100)
    torch.manual_seed(5)
    theirs = raw(torchcam, "SmoothGradCAMpp", model, "conv", x, num_samples=3, std=0.3)[0]
    torch.manual_seed(5)
    noisy = [x + torch.distributions.Normal(0, 0.3).sample(x.shape) for _ in range(3)]
    activation = seen(model, "conv", x, 2)[0]
    activations, gradients = zip(*(seen(model, "conv", one, 2) for one in noisy), strict=True)
    first, second, third = (sum(g**power for g in gradients) / 3 for power in (1, 2, 3))
    inside = (third * activation).sum((1, 2), keepdim=True)
    alpha = second / (2 * second + inside + 1e-8)

    def combined(slope: Tensor, maps: Tensor) -> Tensor:
        return torch.einsum("c,chw->hw", (alpha * slope.clamp(min=0)).sum((1, 2)), maps).clamp(min=0)

    tolerance = 1e-3 * float(theirs.max())
    torch.testing.assert_close(theirs, combined(gradients[-1], activations[-1]), rtol=1e-3, atol=tolerance)
    for meant in (combined(first, activation), combined(first, activations[-1]), combined(gradients[-1], activation)):
        assert float((theirs - meant).abs().max()) > 10 * tolerance


def test_without_noise_and_with_one_gradient_everywhere_smooth_is_one_formula(torchcam: Any) -> None:
    model, x = Linear().eval(), image(3, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(100)  # their epsilon does not count
    theirs = raw(torchcam, "SmoothGradCAMpp", model, "act", x, num_samples=2, std=1e-12)
    ours = explain(model, x, SmoothGradCAMPlusPlus(copies=2, noise=0), TARGETS, "act").evidence[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.max()))


def test_they_stop_at_the_layers_resolution_and_scale_to_one(torchcam: Any) -> None:
    """However little there is; ours keeps logits and goes to the input by itself."""
    model, x = Linear().eval(), image(1, 1, 32, 32)
    with torch.no_grad():
        model.fc.weight.mul_(1e-3)
    explained = explain(model, x, targets=2, layer="act")
    assert explained.evidence.max() > 0, "the example has evidence for the class"
    with torchcam.GradCAM(model, "act") as cam:
        theirs = cam(2, model(x))[0]
    assert theirs.shape == (1, 8, 8)
    assert float(theirs.max()) == pytest.approx(1, abs=0.01)
    assert float(explained.evidence.max()) < 1e-2
    assert explained.on_input().shape == (1, 1, 32, 32)


def test_scorecam_is_one_formula_where_cells_lie_side_by_side(torchcam: Any) -> None:
    """Cells of 3 x 3 pixels without overlap: half pixels are exact there, and enlarging keeps the greatest value."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    ).eval()
    x = image(3, 1, 18, 18)
    with torch.no_grad():
        model[4].weight.mul_(30)  # weights far from equal
    theirs = raw(torchcam, "ScoreCAM", model, "1", x)
    ours = explain(model, x, ScoreCAM(hidden=0.0), TARGETS, "1").evidence[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
