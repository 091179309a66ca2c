"""FullGrad: its terms add up to the score, and each is what the paper says, by biases that are real parameters."""

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.fullgrad import FullGrad
from tests.explainers.nets import Flat, FrameWise, Linear

NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Piecewise(nn.Module):
    """Convolutions, batch norms with lived-in statistics, ReLUs, a max pool, a residual branch, a linear head."""

    def __init__(self, axes: int = 2) -> None:
        super().__init__()
        from monai.networks.layers import Conv, Pool

        torch.manual_seed(4)
        conv, pool = Conv[Conv.CONV, axes], Pool[Pool.MAX, axes]
        self.stem, self.norm = conv(1, 4, 3, stride=2, padding=1, bias=False), NORM[axes](4)
        self.pool = pool(3, 2, 1)
        self.body, self.inner = conv(4, 4, 3, padding=1), NORM[axes](4)
        self.fc = nn.Linear(4, 3)
        for norm in (self.norm, self.inner):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.norm(self.stem(x))))
        x = torch.relu(x + self.inner(self.body(x)))
        return self.fc(x.flatten(2).mean(2))


def by_autograd(model: nn.Module, x: Tensor, layers: list[str], target: int) -> tuple[float, float, float]:
    """The score, the sum of the input's terms, and that of all biases' terms.

    Batch norms are rewritten as a scale and an explicit bias, whose gradients autograd then gives.
    """
    x = x.clone().requires_grad_()
    biases = []
    for name in layers:
        module = model.get_submodule(name)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            shape = (1, -1, *[1] * (x.ndim - 2))
            scale = (module.weight / (module.running_var + module.eps).sqrt()).detach()
            bias = (module.bias - module.running_mean * scale).detach().requires_grad_()
            affine = Affine(scale.reshape(shape), bias, shape)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, affine)
        else:
            bias = module.bias
        biases.append(bias)
    score = model(x)[0, target]
    gradient, *others = torch.autograd.grad(score, [x, *biases])
    of_biases = sum((b * g).sum().item() for b, g in zip(biases, others, strict=True))
    return score.item(), (gradient * x).sum().item(), of_biases


class Affine(nn.Module):
    def __init__(self, scale: Tensor, bias: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale, self.own, self.shape = scale, bias, shape

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.own.reshape(self.shape)


@pytest.mark.parametrize("axes", [2, 3])
def test_all_terms_add_up_to_the_score(axes: int) -> None:
    model, x = Piecewise(axes).eval(), torch.randn(3, 1, *[20] * axes)
    explained = explain(model, x, "fullgrad", targets="all")
    assert "all terms add up to the score" in explained.notes
    assert explained.evidence.shape == (3, 3, *[20] * axes)
    score, of_input, of_biases = by_autograd(model, x[1:2], ["norm", "body", "inner", "fc"], 2)
    assert score == pytest.approx(float(explained.scores[1, 2]), rel=1e-5)
    assert of_input + of_biases == pytest.approx(score, rel=1e-4)


def test_the_signed_map_is_the_score_without_what_has_no_place() -> None:
    """A network that keeps the resolution, so that nothing is interpolated: the map's sum is the score less fc's bias."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2),
    ).eval()  # fmt: skip
    nn.init.normal_(model[1].running_mean)
    x = torch.randn(2, 1, 12, 12)
    explained = explain(model, x, FullGrad("signed"), targets="all")
    torch.testing.assert_close(explained.evidence.sum((2, 3)), explained.scores - model[-1].bias.detach(), rtol=1e-4, atol=1e-5)  # fmt: skip
    plain = explain(model, x, "fullgrad", targets="all").evidence
    assert (plain >= explained.evidence.abs() - 1e-6).all()


def test_every_layer_by_hand() -> None:
    """One 1x1 convolution, ReLU, mean, linear: y = sum_k v_k mean(relu(w_k x + b_k)) + c."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([0.5, 1.0]))
        model[4].weight.copy_(torch.tensor([[3.0, -1.0]]))
        model[4].bias.fill_(0.25)
    x = torch.tensor([[[[1.0, 0.0], [-1.0, 2.0]]]])
    # k=0: pre-activations 1.5 0.5 / -0.5 2.5, open 1 1 / 0 1; k=1: -1 1 / 3 -3, open 0 1 / 1 0; gradients v_k / 4
    slope = torch.tensor([[3.0, 3 - 1 * -2], [2.0, 3.0]]) / 4
    biases = torch.tensor([[1.5, 1.5 + 1], [1.0, 1.5]]) / 4
    signs = torch.tensor([[1.5, 1.5 - 1], [-1.0, 1.5]]) / 4
    torch.testing.assert_close(explain(model, x, FullGrad(), 1).evidence[0, 0], (x[0, 0] * slope).abs() + biases)
    told = explain(model, x, FullGrad("signed"), 1)
    torch.testing.assert_close(told.evidence[0, 0], x[0, 0] * slope + signs)
    torch.testing.assert_close(told.evidence.sum() + 0.25, told.scores[0, 0])
    scaled = (x[0, 0] * slope).abs()
    first = (scaled - scaled.min()) / (scaled.max() - scaled.min())
    terms = torch.tensor([[[1.5, 1.5], [0.0, 1.5]], [[0.0, 1.0], [1.0, 0.0]]])
    torch.testing.assert_close(explain(model, x, FullGrad("rescaled"), 1).evidence[0, 0], first + (terms / 1.5).sum(0))


def test_coarse_layers_share_out_their_logits() -> None:
    """The same bias looked at in a layer of one cell per pixel and one of a cell per 4 x 4 pixels weighs the same."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.AvgPool2d(4), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1)
    ).eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.fill_(2.0)
        model[5].weight.fill_(3.0)
    told = explain(model, torch.randn(1, 1, 16, 16), FullGrad(), 1).evidence
    torch.testing.assert_close(told, torch.full_like(told, 6 / 256))


def test_what_is_missing_is_told() -> None:
    class Functional(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 5.0

    note = explain(Functional().eval(), torch.randn(1, 1, 16, 16), "fullgrad", targets=0).notes[-1]
    found, score = (float(word.rstrip(":")) for word in note.replace(",", "").split() if word[0] in "-0123456789")
    assert score - found == pytest.approx(5, rel=1e-3)
    curved = explain(Flat().eval(), torch.randn(1, 1, 16, 16), "fullgrad", targets=0)  # a tanh
    assert any("not piecewise linear" in note for note in curved.notes)


@pytest.mark.parametrize("first", ["samples", "time"])
def test_frames_folded_either_way_belong_to_their_sample(first: str) -> None:
    class TimeFirst(FrameWise):
        def forward(self, x: Tensor) -> Tensor:
            batch, time = x.shape[0], x.shape[2]
            frames = x.permute(2, 0, 1, 3, 4).reshape(time * batch, x.shape[1], *x.shape[3:])
            return self.image(frames).reshape(time, batch, -1).mean(0)

    model = (FrameWise if first == "samples" else TimeFirst)(Linear()).eval()
    clip = torch.randn(3, 1, 4, 16, 16)
    explained = explain(model, clip, "fullgrad", targets="all")
    assert "all terms add up to the score" in explained.notes
    alone = explain(model, clip[2:], "fullgrad", targets="all").evidence
    torch.testing.assert_close(explained.evidence[2:], alone)


def test_a_real_network_is_complete_to_a_ten_thousandth() -> None:
    from monai.networks.nets import ResNet

    torch.manual_seed(0)
    model = ResNet("basic", [1] * 4, [4, 4, 8, 8], spatial_dims=2, n_input_channels=1, num_classes=2).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
    explained = explain(model, torch.randn(2, 1, 64, 64), FullGrad("signed"), targets="all")
    assert "all terms add up to the score" in explained.notes


def test_an_unknown_psi_is_refused() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        FullGrad("square")  # type: ignore[arg-type]
