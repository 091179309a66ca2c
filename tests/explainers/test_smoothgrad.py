"""SmoothGrad copy by copy, and where averaging changes nothing."""

import pytest
import torch
from torch import nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.smoothgrad import SmoothGrad
from tests.explainers.nets import Flat


def test_equals_the_average_of_signed_gradients() -> None:
    model, x = Flat().eval(), torch.randn(1, 1, 16, 16)
    ours = explain(model, x, SmoothGrad(copies=4, noise=0.2, seed=7), targets=1).evidence[0, 0]
    generator = torch.Generator().manual_seed(7)
    total = torch.zeros_like(x)
    for _ in range(4):
        noisy = (x + 0.2 * (x.max() - x.min()) * torch.randn(x.shape[1:], generator=generator)).requires_grad_()
        total += torch.autograd.grad(model(noisy)[0, 1], noisy)[0]
    torch.testing.assert_close(ours, (total / 4).abs().amax(1)[0], rtol=1e-4, atol=1e-7)


def test_noise_changes_nothing_of_a_linear_model() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    evidence = explain(model, torch.randn(1, 1, 8, 8), "smoothgrad", targets=1).evidence[0, 0]
    torch.testing.assert_close(evidence, model[1].weight[1].detach().abs().reshape(8, 8))


def test_settings_that_cannot_be() -> None:
    for settings in ({"copies": 0}, {"noise": -0.1}):
        with pytest.raises(UsageError, match="bad-setting"):
            SmoothGrad(**settings)  # type: ignore[arg-type]
