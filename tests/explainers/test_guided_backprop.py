"""Guided backpropagation against captum where ReLUs are modules, and alike where they are functions or in place."""

import pytest
import torch
from captum.attr import GuidedBackprop as Captum
from torch import Tensor, nn
from torch.nn import functional

from medcam.errors import ExplainError
from medcam.explainers import explain


class Net(nn.Module):
    """Two ReLUs, written in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.fc = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(5, 3)
        self.a, self.b = nn.ReLU(how == "in place"), nn.ReLU(how == "in place")
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        if self.how in ("modules", "in place"):
            x = self.b(self.two(self.a(x)))
        elif self.how == "functions":
            x = functional.relu(self.two(torch.relu(x)))
        else:
            x = x.relu_()
            x = self.two(x)
            functional.relu_(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("how", ["modules", "in place", "functions", "statements"])
def test_equals_captum_however_the_relus_are_written(how: str) -> None:
    x = torch.randn(2, 2, 10, 10)
    ours = explain(Net(how).eval(), x, "guided_backprop", targets=[2, 1]).evidence[:, 0]
    theirs = Captum(Net("modules").eval()).attribute(x.clone().requires_grad_(), torch.tensor([2, 1]))
    torch.testing.assert_close(ours, theirs.abs().amax(1), rtol=1e-5, atol=1e-8)


def test_a_network_without_relu_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(2 * 36, 2)).eval()
    with pytest.raises(ExplainError, match="no-relu"):
        explain(model, torch.randn(1, 1, 8, 8), "guided_backprop")
