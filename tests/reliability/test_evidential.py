"""Evidence and vacuity by hand, the divergence by torch's own distributions, and the gradient."""

import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from medcam.reliability.evidential import loss, reading

FIRST = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)


def test_without_evidence_everything_is_possible():
    p, vacuity = reading(torch.zeros(1, 3, dtype=torch.float64))
    assert p[0].tolist() == pytest.approx([1 / 3] * 3)
    assert vacuity.item() == 1
    assert loss(torch.zeros(1, 3, dtype=torch.float64), FIRST).item() == pytest.approx(0.6667 + 0.1667, abs=1e-4)


def test_evidence_for_the_right_class():
    evidence = torch.tensor([[9.0, 0.0, 0.0]], dtype=torch.float64)
    assert reading(evidence)[1].item() == pytest.approx(0.25)
    assert loss(evidence, FIRST).item() == pytest.approx(0.064103, abs=1e-6), "no divergence: nothing speaks for others"


def test_evidence_for_wrong_classes_costs_the_divergence_that_torch_knows():
    evidence = torch.rand(5, 4, dtype=torch.float64) * 5
    target = torch.eye(4, dtype=torch.float64)[[0, 1, 2, 3, 0]]
    wrong = target + (1 - target) * (evidence + 1)
    expected = kl_divergence(Dirichlet(wrong), Dirichlet(torch.ones_like(wrong)))
    torch.testing.assert_close(loss(evidence, target, 1.0) - loss(evidence, target, 0.0), expected)
    evidence.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: loss(e, target, 0.3), evidence)
