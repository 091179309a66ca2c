"""The input's gradient against captum and against finite differences."""

import torch
from captum.attr import Saliency
from torch import nn

from medcam.explainers import explain
from tests.explainers.nets import Flat


def test_equals_captums_saliency() -> None:
    model, x = Flat().eval(), torch.randn(2, 1, 16, 16)
    ours = explain(model, x, "gradient", targets=[2, 0]).evidence[:, 0]
    theirs = Saliency(model).attribute(x.clone().requires_grad_(), torch.tensor([2, 0]), abs=True).amax(1)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_tells_how_much_the_score_changes_with_a_pixel() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 4), nn.Tanh(), nn.Linear(4, 1)).double().eval()
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    ours = explain(model, x, "gradient", targets=1, head="single-logit").evidence[0, 0]
    for row, column in [(0, 0), (1, 2), (2, 1)]:
        slopes = []
        for channel in range(2):
            step = torch.zeros_like(x)
            step[0, channel, row, column] = 1e-4
            slopes.append(((model(x + step) - model(x - step)) / 2e-4).abs().item())
        assert abs(ours[row, column].item() - max(slopes)) < 1e-5


def test_lies_on_the_inputs_own_cells() -> None:
    explained = explain(Flat().eval(), torch.randn(1, 1, 16, 16), "gradient", targets=0)
    assert explained.grid == explained.input_grids[0]
    assert "input" in explained.layer
