"""HiResCAM against captum's layer gradient x activation, and its promise to add up."""

import pytest
import torch
from captum.attr import LayerGradientXActivation

from medcam.explainers import explain
from tests.explainers.nets import Flat, Linear


@pytest.mark.parametrize("axes", [2, 3])
def test_equals_the_channel_sum_of_captums_gradient_x_activation(axes: int) -> None:
    model = Flat(axes).eval()
    x = torch.randn(3, 1, *[16] * axes)
    targets = torch.tensor([2, 0, 1])
    ours = explain(model, x, "hirescam", targets=targets, layer="conv").evidence
    theirs = LayerGradientXActivation(model, model.conv).attribute(x, targets).sum(1, keepdim=True)
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)


def test_is_grad_cam_where_the_gradient_is_the_same_everywhere() -> None:
    both = explain(Linear().eval(), torch.randn(2, 1, 16, 16), ["gradcam", "hirescam"], targets="all")
    torch.testing.assert_close(both["gradcam"].evidence, both["hirescam"].evidence)


def test_adds_up_to_the_logit_behind_a_flattening_linear_head() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(4 * 8 * 8, 3)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, 2, 1), torch.nn.ReLU(), torch.nn.Flatten(), head)
    explained = explain(model, torch.randn(2, 1, 16, 16), "hirescam", targets="all")
    torch.testing.assert_close(explained.evidence.sum((2, 3)), explained.scores - head.bias.detach())
    grad_cam = explain(model, torch.randn(2, 1, 16, 16), "gradcam", targets="all")
    assert not torch.allclose(grad_cam.evidence.sum((2, 3)), grad_cam.scores - head.bias.detach(), atol=1e-3)
