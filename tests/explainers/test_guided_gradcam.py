"""Guided Grad-CAM is Grad-CAM, at its exact place on the input, times guided backpropagation."""

import torch

from medcam.explainers import explain
from medcam.explainers._alignment import whole
from medcam.explainers._fusion import moved
from tests.explainers.nets import Linear


def test_is_the_product() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 32, 32)
    parts = explain(model, x, ["gradcam", "guided_backprop"], targets="all", layer="act")
    cam = parts["gradcam"]
    fine = moved(cam.evidence.clamp(min=0), cam.alignment, whole((32, 32)))
    ours = explain(model, x, "guided_gradcam", targets="all", layer="act")
    torch.testing.assert_close(ours.evidence, fine * parts["guided_backprop"].evidence, rtol=1e-4, atol=1e-8)
    assert ours.grid.shape == (32, 32)


def test_the_place_is_the_layers_own() -> None:
    """One cell of the map hot: the product's centre lies where that cell's receptive field is, not half a cell off."""
    model = Linear().eval()
    with torch.no_grad():
        model.stem.weight.fill_(1)
        model.body.weight.fill_(1)
        model.fc.weight.abs_()
        model.stem.bias.zero_()
        model.body.bias.zero_()
    x = torch.zeros(1, 1, 32, 32)
    x[0, 0, 16, 12] = 1  # cell (4, 3) of the layer sits at 4 * (4, 3)
    evidence = explain(model, x, "guided_gradcam", targets=0, layer="act").evidence[0, 0]
    rows = (evidence.sum(1) * torch.arange(32)).sum() / evidence.sum()
    columns = (evidence.sum(0) * torch.arange(32)).sum() / evidence.sum()
    assert abs(rows - 16) < 0.6
    assert abs(columns - 12) < 0.6
