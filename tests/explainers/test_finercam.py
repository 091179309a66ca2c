"""Finer-CAM against Grad-CAM of the written-out difference."""

import pytest
import torch

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.explainers.finercam import FinerCAM
from tests.explainers.nets import Flat, Linear


def test_equals_gradcam_of_the_difference_with_the_nearest_logits() -> None:
    model, x = Flat(classes=5).eval(), torch.randn(3, 1, 16, 16)
    ours = explain(model, x, FinerCAM(strength=0.6, others=2), targets="all", layer="conv").evidence
    logits = model(x).detach()
    for sample in range(3):
        for target in range(5):
            order = sorted((abs(logits[sample, c] - logits[sample, target]).item(), c) for c in range(5) if c != target)
            near = [c for _, c in order[:2]]

            def difference(output: torch.Tensor, target: int = target, near: list[int] = near) -> torch.Tensor:
                return output[:, target] - 0.6 * (output[:, near[0]] + output[:, near[1]]) / 2

            expected = explain(model, x[sample : sample + 1], "gradcam", targets=difference, layer="conv").evidence[
                0, 0
            ]
            torch.testing.assert_close(ours[sample, target], expected, rtol=1e-4, atol=1e-6)


def test_no_strength_is_gradcam() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    plain = explain(model, x, "gradcam", targets="all").evidence
    torch.testing.assert_close(explain(model, x, FinerCAM(strength=0), targets="all").evidence, plain)


def test_what_all_classes_share_is_cold() -> None:
    """All classes weigh channel 0 alike; only channel 1 tells the target from the others."""
    model = Linear().eval()
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.weight[:, 0] = 3
        model.fc.weight[1, 1] = 1
    x = torch.randn(1, 1, 16, 16)
    evidence = explain(model, x, FinerCAM(strength=1, others=2), targets=1, layer="act").evidence[0, 0]
    seen: list[torch.Tensor] = []
    model.act.register_forward_hook(lambda m, a, output: seen.append(output))
    model(x)
    torch.testing.assert_close(evidence, seen[0][0, 1].detach() / 16)


def test_a_single_logit_and_an_own_target_are_refused() -> None:
    with pytest.raises(ExplainError, match="bad-target"):
        explain(Linear(classes=1).eval(), torch.randn(1, 1, 16, 16), "finercam")
    with pytest.raises(ExplainError, match="bad-target"):
        explain(Linear().eval(), torch.randn(1, 1, 16, 16), "finercam", targets=lambda output: output[:, 0])
