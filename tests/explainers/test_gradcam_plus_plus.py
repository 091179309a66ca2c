"""Grad-CAM++ against the paper's equation 19, channel by channel and cell by cell, and in closed form."""

import torch

from medcam.explainers import explain
from tests.explainers.nets import Flat, Linear
from tests.explainers.slow import seen


def by_the_paper(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Equations 10, 11 and 19 with the factor exp(y) left out, in double precision; one image (C, H, W)."""
    total = torch.zeros(activation.shape[1:], dtype=torch.float64)
    for maps, slopes in zip(activation.double(), gradient.double(), strict=True):
        weight = 0.0
        for slope in slopes.flatten().tolist():
            if slope > 0:
                alpha = slope**2 / (2 * slope**2 + maps.sum().item() * slope**3)
                weight += alpha * slope
        total += weight * maps
    return total.clamp(min=0).float()


def test_equals_the_paper_where_gradients_differ_from_cell_to_cell() -> None:
    model, x = Flat().eval(), torch.randn(2, 1, 16, 16)
    ours = explain(model, x, "gradcam_plus_plus", targets="all", layer="conv").evidence
    for sample in range(2):
        for target in range(3):
            expected = by_the_paper(*seen(model, "conv", x[sample : sample + 1], target))
            torch.testing.assert_close(ours[sample, target], expected, rtol=1e-4, atol=1e-8)


def test_closed_form_behind_average_pooling() -> None:
    """g = w / Z everywhere, so the weight is ReLU(w) / (2 + w mean A)."""
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    explained = explain(model, x, "gradcam_plus_plus", targets="all", layer="act")
    activation = seen(model, "act", x[:1], 0)[0]
    for target in range(3):
        w = model.fc.weight[target].detach()
        weight = w.clamp(min=0) / (2 + w * activation.mean((1, 2)))
        expected = (weight[:, None, None] * activation).sum(0)
        torch.testing.assert_close(explained.evidence[0, target], expected, rtol=1e-5, atol=1e-7)


def test_tiny_gradients_are_not_lost_in_an_epsilon() -> None:
    """A logit a million times smaller gives the same map up to scale, where S g is small either way."""
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(1e-3)
    normal = explain(model, x, "gradcam_plus_plus", targets=0, layer="act").evidence
    with torch.no_grad():
        model.fc.weight.mul_(1e-6)
    tiny = explain(model, x, "gradcam_plus_plus", targets=0, layer="act").evidence
    torch.testing.assert_close(tiny / tiny.max(), normal / normal.max(), rtol=2e-3, atol=1e-4)
