"""XGrad-CAM against the paper's equation 7, its axiom, and where it is ill-posed."""

import torch
from torch import nn

from medcam.explainers import explain
from tests.explainers.nets import Flat, Linear
from tests.explainers.slow import seen


def test_equals_the_paper_channel_by_channel() -> None:
    model, x = Flat(3, 8).eval(), torch.randn(2, 1, 8, 8, 8).abs()
    with torch.no_grad():
        model.conv.weight.abs_()  # so that the layer's output is positive before its ReLU too
        model.conv.bias.abs_()
    ours = explain(model, x, "xgradcam", targets="all", layer="conv").evidence
    for sample in range(2):
        for target in range(3):
            activation, gradient = seen(model, "conv", x[sample : sample + 1], target)
            expected = torch.zeros(activation.shape[1:])
            for maps, slopes in zip(activation, gradient, strict=True):
                expected += (slopes * maps).sum() / maps.sum() * maps
            torch.testing.assert_close(ours[sample, target], expected, rtol=1e-4, atol=1e-6)


def test_cells_add_up_as_those_of_hirescam() -> None:
    """The axiom of conservation (Fu et al., section 3.2)."""
    model, x = Flat().eval(), torch.randn(2, 1, 16, 16)
    both = explain(model, x, ["xgradcam", "hirescam"], targets="all", layer="conv")
    torch.testing.assert_close(
        both["xgradcam"].evidence.sum((2, 3)), both["hirescam"].evidence.sum((2, 3)), rtol=1e-4, atol=1e-5
    )


def test_equals_gradcam_behind_average_pooling() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    both = explain(model, x, ["xgradcam", "gradcam"], targets="all", layer="act")
    torch.testing.assert_close(both["xgradcam"].evidence, both["gradcam"].evidence)


def test_a_channel_that_cancels_has_no_weight_and_does_not_explode() -> None:
    class Signed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Identity()
            self.fc = nn.Linear(32, 2)
            torch.manual_seed(0)
            nn.init.normal_(self.fc.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.same(x).flatten(1))

    x = torch.rand(1, 2, 4, 4)
    x[0, 1] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2) * 1e3  # sums up to exactly nothing
    evidence = explain(Signed().eval(), x, "xgradcam", targets=0, layer="same").evidence
    activation, gradient = seen(Signed().eval(), "same", x, 0)
    expected = (activation[0] * gradient[0]).sum() / activation[0].sum() * activation[0]
    torch.testing.assert_close(evidence[0, 0], expected)
