"""A Tanh at the end: explained is what comes before it."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.uncertainty.dropout import Dropout
from tests.explainers.nets import Linear, state


class Squashed(nn.Module):
    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        self.net, self.tanh, self.wide = Linear(), nn.Tanh(), wide
        with torch.no_grad():
            self.net.fc.weight.mul_(100)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        out = self.tanh(self.net(x))
        return (2 * out if self.wide else out), [x]


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "gradient", "cam"])
def test_the_map_is_that_of_the_network_without_it(name: str) -> None:
    model, x = Squashed().eval(), 3 * torch.randn(2, 1, 16, 16)
    assert float(model(x)[0].detach().abs().max()) == 1, "the example is saturated"
    before = state(model)
    explained, plain = explain(model, x, name, "all"), explain(model.net, x, name, "all")
    torch.testing.assert_close(explained.evidence, plain.evidence)
    torch.testing.assert_close(explained.scores, plain.scores)
    assert any("tanh (Tanh) is left out" in note for note in explained.notes)
    assert state(model) == before


def test_monais_vit() -> None:
    from monai.networks.nets import ViT

    torch.manual_seed(0)
    net = ViT(1, (16, 24), 4, 12, 24, 2, 2, classification=True, spatial_dims=2).eval()
    explained = explain(net, torch.randn(1, 1, 16, 24), targets=1)
    torch.testing.assert_close(explained.scores.tanh(), net(explained.images)[0][:, 1:])
    assert any("classification_head.1 (Tanh) is left out" in note for note in explained.notes)


def test_a_target_of_ones_own_sees_what_the_model_gives() -> None:
    model, x = Squashed().eval(), torch.randn(1, 1, 16, 16)
    explained = explain(model, x, targets=lambda output: output[0][:, 0])
    torch.testing.assert_close(explained.scores[:, 0], model(x)[0][:, 0])


def test_a_tanh_that_is_not_the_end_stays() -> None:
    model, x = Squashed(wide=True).eval(), torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(explain(model, x, targets=0).scores, model(x)[0][:, :1])


def test_dropout_disturbs_what_was_explained() -> None:
    class Dropped(Squashed):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(1e-6)

        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return self.tanh(self.drop(self.net(x)))

    model, x = Dropped().eval(), torch.randn(1, 1, 16, 16)
    explained = explain(model, x, targets=1, layer="net.act")
    member = next(iter(Dropout(passes=2).members(model, explained, 0, seed=0)))
    torch.testing.assert_close(torch.as_tensor(member.evidence), explained.evidence[:, 0], rtol=1e-3, atol=1e-4)
