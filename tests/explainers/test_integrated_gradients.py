"""Integrated Gradients: exact on a linear model, complete, and honest about too few steps."""

import pytest
import torch
from torch import nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.integrated_gradients import IntegratedGradients
from tests.explainers.nets import Flat


def test_of_a_linear_model_it_is_weight_times_difference() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 16, 3)).eval()
    x, start = torch.randn(2, 2, 4, 4), torch.rand(2, 4, 4)
    ours = explain(model, x, IntegratedGradients(start, steps=4), targets=2).evidence[:, 0]
    expected = (model[1].weight[2].detach().reshape(2, 4, 4) * (x - start)).sum(1)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axes", [2, 3])
def test_cells_add_up_to_the_change_in_score(axes: int) -> None:
    model, x = Flat(axes, 8).eval(), torch.randn(3, 1, *[8] * axes)
    explained = explain(model, x, IntegratedGradients(-1.0, steps=200), targets=[2, 0, 1], budget=7)
    change = explained.scores[:, 0] - model(torch.full_like(x, -1))[range(3), [2, 0, 1]].detach()
    torch.testing.assert_close(explained.evidence.flatten(1).sum(1), change, rtol=1e-2, atol=1e-3)
    assert not any("miss the change" in note for note in explained.notes)


def test_too_few_steps_are_told() -> None:
    model, x = (
        nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 1)).eval(),
        torch.ones(1, 1, 2, 2),
    )
    with torch.no_grad():
        model[1].weight.fill_(20)
        model[1].bias.fill_(-30)
        model[3].weight.fill_(1)
    explained = explain(model, x, IntegratedGradients(steps=3), targets=1, head="single-logit")
    assert any("take more steps" in note for note in explained.notes)


def test_a_baseline_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        explain(Flat().eval(), torch.randn(1, 1, 16, 16), IntegratedGradients(torch.zeros(1, 8, 8)), targets=0)
