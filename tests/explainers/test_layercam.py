"""LayerCAM against the paper's equations 5 to 7, cell by cell."""

import torch

from medcam.explainers import explain
from tests.explainers.nets import Flat


def test_equals_the_paper_cell_by_cell() -> None:
    model = Flat().eval()
    x = torch.randn(2, 1, 16, 16)
    ours = explain(model, x, "layercam", targets=1, layer="conv").evidence
    for sample in range(2):
        seen: list[torch.Tensor] = []
        handle = model.conv.register_forward_hook(lambda m, a, output, seen=seen: seen.append(output))
        score = model(x[sample : sample + 1])[0, 1]
        handle.remove()
        activation, gradient = seen[0][0].tolist(), torch.autograd.grad(score, seen[0])[0][0].tolist()
        for row in range(8):
            for column in range(8):
                total = sum(max(gradient[k][row][column], 0) * activation[k][row][column] for k in range(5))
                assert abs(max(total, 0) - ours[sample, 0, row, column].item()) < 1e-6


def test_never_negative_and_says_so() -> None:
    explained = explain(Flat().eval(), torch.randn(4, 1, 16, 16), "layercam", targets="all", layer="conv")
    assert not explained.signed
    assert explained.evidence.min() == 0
