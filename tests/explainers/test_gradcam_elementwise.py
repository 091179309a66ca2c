"""Element-wise Grad-CAM against a loop over channels and cells."""

import torch

from medcam.explainers import explain
from tests.explainers.nets import Flat
from tests.explainers.slow import seen


def test_equals_the_loop() -> None:
    model, x = Flat().eval(), torch.randn(2, 1, 16, 16)
    ours = explain(model, x, "gradcam_elementwise", targets=2, layer="conv").evidence
    for sample in range(2):
        activation, gradient = (t.tolist() for t in seen(model, "conv", x[sample : sample + 1], 2))
        for row in range(8):
            for column in range(8):
                total = sum(max(gradient[k][row][column] * activation[k][row][column], 0) for k in range(5))
                assert abs(total - ours[sample, 0, row, column].item()) < 1e-6


def test_holds_at_least_what_hirescam_and_layercam_hold() -> None:
    """sum ReLU(gA) >= ReLU(sum gA), and >= ReLU(sum ReLU(g) A) where A is never negative."""
    model, x = Flat().eval(), torch.randn(3, 1, 16, 16)
    maps = explain(model, x, ["gradcam_elementwise", "hirescam"], targets="all", layer="conv")
    assert (maps["gradcam_elementwise"].evidence >= maps["hirescam"].evidence - 1e-7).all()
    assert (maps["gradcam_elementwise"].evidence > maps["hirescam"].evidence + 1e-4).any()
