"""LRP against the rules written out for a small network, its conservation, captum, and residual and volume networks."""

import captum.attr
import pytest
import torch
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.lrp import LRP
from medcam.models.resnet import ResNet


class Plain(nn.Module):
    """conv - ReLU - conv - ReLU - flatten - linear, all of them modules that captum knows."""

    def __init__(self, bias: bool = False, size: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(1, 4, 3, stride=2, padding=1, bias=bias)
        self.two = nn.Conv2d(4, 5, 3, padding=1, bias=bias)
        self.fc = nn.Linear(5 * (size // 2) ** 2, 3, bias=bias)
        self.a, self.b = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.two(self.a(self.one(x)))).flatten(1))


def matrix(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """(out, in): a layer without bias as the matrix that it is."""
    rows = torch.eye(torch.Size(shape).numel()).reshape(-1, *shape)
    return layer(rows).flatten(1).T.detach()


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus"])
def test_the_rules_written_out_as_matrices(composite: str) -> None:
    model, x = Plain().eval(), torch.randn(1, 1, 8, 8)
    layers = [
        (matrix(model.one, (1, 8, 8)), True),
        (matrix(model.two, (4, 4, 4)), True),
        (matrix(model.fc, (80,)), False),
    ]
    inputs = [x.flatten()]
    for weight, _ in layers[:-1]:
        inputs.append((weight @ inputs[-1]).clamp(min=0))
    relevance = torch.zeros(3)
    relevance[1] = (layers[-1][0] @ inputs[-1])[1]
    for (weight, convolution), entered in zip(reversed(layers), reversed(inputs), strict=True):
        parts = weight * entered  # (out, in): what each input adds to each output
        if convolution and composite == "epsilon-plus":
            parts = parts.clamp(min=0)
        whole = parts.sum(1)
        share = parts / torch.where(whole.abs() > 1e-12, whole, 1)[:, None]
        relevance = share.T @ relevance
    ours = explain(model, x, LRP(composite, epsilon=1e-9), targets=1).evidence[0, 0]  # type: ignore[arg-type]
    torch.testing.assert_close(ours.flatten(), relevance, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus"])
@pytest.mark.parametrize("axes", [2, 3])
def test_without_biases_the_cells_add_up_to_the_score(composite: str, axes: int) -> None:
    torch.manual_seed(0)
    model = ResNet(axes, 1, 3, widths=(6, 8), blocks=(1, 1), strides=(1, 2), stem_kernel=3, stem_pool=True).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 1, *[16] * axes)
    explained = explain(model, x, LRP(composite, epsilon=1e-9), targets="all")  # type: ignore[arg-type]
    scores = explained.scores - model.head.bias.detach()
    torch.testing.assert_close(explained.evidence.flatten(2).sum(2), scores, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Setting")
def test_epsilon_rule_equals_captum() -> None:
    model, x = Plain(bias=True).eval(), torch.randn(2, 1, 8, 8)
    ours = explain(model, x, LRP("epsilon", epsilon=1e-9), targets=2).evidence[:, 0]
    theirs = captum.attr.LRP(Plain(bias=True).eval()).attribute(x.clone().requires_grad_(), target=2)[:, 0]
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-3, atol=1e-6)


def test_epsilon_in_a_relu_network_is_gradient_times_input() -> None:
    model, x = Plain().eval(), torch.randn(1, 1, 8, 8)
    y = x.clone().requires_grad_()
    expected = torch.autograd.grad(model(y)[0, 0], y)[0] * x
    ours = explain(model, x, LRP("epsilon", epsilon=1e-9), targets=0).evidence
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)


def test_what_biases_took_is_told() -> None:
    model = Plain(bias=True).eval()
    with torch.no_grad():
        model.fc.bias.fill_(10)
    explained = explain(model, torch.randn(1, 1, 8, 8), "lrp", targets=0)
    assert any("biases take" in note for note in explained.notes)


def test_the_output_is_what_it_was() -> None:
    model, x = Plain(bias=True).eval(), torch.randn(1, 1, 8, 8)
    assert torch.equal(explain(model, x, "lrp", targets=0).output, model(x).detach())


def test_settings_that_cannot_be() -> None:
    for settings in ({"composite": "alpha-beta"}, {"epsilon": 0.0}):
        with pytest.raises(UsageError, match="bad-setting"):
            LRP(**settings)  # type: ignore[arg-type]
