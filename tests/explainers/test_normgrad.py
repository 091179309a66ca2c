"""NormGrad against what autograd says of an identity layer that is really put in, and cell by cell."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.normgrad import NormGrad
from tests.explainers.nets import Flat
from tests.explainers.slow import seen


def parts(virtual: str, activation: Tensor, gradient: Tensor) -> Tensor:
    """(cells, ...): each cell's part in the gradient of the virtual layer's weights, written out."""
    a, g = activation.flatten(1).T, gradient.flatten(1).T  # (Z, C)
    if virtual == "bias":
        return g
    if virtual == "scaling":
        return a * g
    if virtual == "conv1x1":
        return torch.stack([torch.outer(gp, ap) for gp, ap in zip(g, a, strict=True)])
    patches = functional.unfold(activation[None], 3, padding=1)[0].T  # (Z, 9 C)
    return torch.stack([torch.outer(gp, patch) for gp, patch in zip(g, patches, strict=True)])


@pytest.mark.parametrize(
    ("virtual", "selective"),
    [
        ("bias", False),
        ("bias", True),
        ("scaling", False),
        ("scaling", True),
        ("conv1x1", False),
        ("conv1x1", True),
        ("conv3x3", False),
    ],
)
def test_norm_of_each_cells_part(virtual: str, selective: bool) -> None:
    model, x = Flat().eval(), torch.randn(2, 1, 16, 16)
    ours = explain(model, x, NormGrad(virtual, selective), targets=1, layer="conv").evidence  # type: ignore[arg-type]
    for sample in range(2):
        part = parts(virtual, *seen(model, "conv", x[sample : sample + 1], 1))
        expected = (part.clamp(min=0) if selective else part).flatten(1).norm(dim=1).reshape(8, 8)
        torch.testing.assert_close(ours[sample, 0], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("virtual", ["bias", "scaling", "conv1x1", "conv3x3"])
def test_the_parts_are_those_of_a_real_identity_layer(virtual: str) -> None:
    """Summed over cells they are autograd's gradient of that layer's weights."""
    model, x = Flat().eval(), torch.randn(1, 1, 16, 16)
    identity: nn.Module
    if virtual.startswith("conv"):
        size = int(virtual[-1])
        identity = nn.Conv2d(5, 5, size, padding=size // 2, bias=False)
        nn.init.dirac_(identity.weight)
        weight = identity.weight
    else:
        weight = nn.Parameter(torch.zeros(1, 5, 1, 1) if virtual == "bias" else torch.ones(1, 5, 1, 1))
    handle = model.conv.register_forward_hook(
        lambda m, a, output: (
            identity(output)
            if virtual.startswith("conv")
            else output + weight
            if virtual == "bias"
            else output * weight
        )
    )
    (whole,) = torch.autograd.grad(model(x)[0, 2], weight)
    handle.remove()
    total = parts(virtual, *seen(model, "conv", x, 2)).sum(0)
    torch.testing.assert_close(total.flatten(), whole.flatten(), rtol=1e-4, atol=1e-6)


def test_a_neighbourhood_in_three_axes() -> None:
    model, x = Flat(3, 8).eval(), torch.randn(1, 1, 8, 8, 8)
    ours = explain(model, x, NormGrad("conv3x3"), targets=0, layer="conv").evidence[0, 0]
    activation, gradient = seen(model, "conv", x, 0)
    padded = functional.pad(activation, (1,) * 6)
    for d, h, w in [(0, 0, 0), (1, 2, 3), (3, 3, 1)]:
        near = padded[:, d : d + 3, h : h + 3, w : w + 3].norm()
        assert ours[d, h, w].item() == pytest.approx((gradient[:, d, h, w].norm() * near).item(), rel=1e-4)


def test_settings_that_cannot_be() -> None:
    for settings in ({"virtual": "conv5x5"}, {"virtual": "conv3x3", "selective": True}):
        with pytest.raises(UsageError, match="bad-setting"):
            NormGrad(**settings)  # type: ignore[arg-type]
