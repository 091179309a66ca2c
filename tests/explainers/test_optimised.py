"""The faster copy: how far its maps may deviate, that the model is left alone, and when it is not used."""

import copy

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import _optimised, explain
from tests.explainers.nets import FrameWise, Linear, Skip, Twice, state
from tests.explainers.test_contract import NAMES, method
from tests.explainers.test_folding import trained

ALL = ["cam", "gradcam", "gradcam_plus_plus", "xgradcam", "hirescam", "layercam", "eigencam", "eigengradcam"]


class Normed(nn.Module):
    """conv - norm - ReLU twice, then the mean and a linear layer."""

    def __init__(self, axes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[axes]
        self.stem, self.stem_norm = conv(1, 8, 3, stride=2, padding=1), norm(8)
        self.body, self.body_norm = conv(8, 12, 3, stride=2, padding=1), norm(12)
        self.act, self.fc = nn.ReLU(), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = self.act(self.body_norm(self.body(x)))
        return self.fc(x.flatten(2).mean(2))


@pytest.fixture(params=[True, False], ids=["16 bits", "32 bits"])
def bits_16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both, whatever this processor gains by."""
    monkeypatch.setattr(_optimised, "gains", lambda device: request.param)
    return bool(request.param)


@pytest.mark.parametrize("axes", [2, 3])
def test_maps_deviate_by_less_than_is_promised(bits_16: bool, axes: int) -> None:
    model, x = trained(Normed(axes)), torch.randn(2, 1, *[32] * axes)
    plain = explain(model, x, ALL, "all")
    fast = explain(model, x, ALL, "all", optimise=True)
    for name in ALL:
        strongest = float(plain[name].evidence.abs().max())
        apart = float((plain[name].evidence - fast[name].evidence).abs().max())
        assert apart < _optimised.MOST[bits_16] * strongest, name
        assert fast[name].evidence.dtype == torch.float32
        assert fast[name].layer == plain[name].layer
        assert fast[name].grids == plain[name].grids
    (note,) = [note for note in fast["gradcam"].notes if "optimised" in note]
    assert note.startswith("optimised copy: 2 batch norms folded, channels last")
    assert ("bfloat16" in note) == bits_16
    assert "deviate" in note


@pytest.mark.parametrize("name", NAMES)
def test_every_method_deviates_by_less_or_explains_the_model_itself(name: str, bits_16: bool) -> None:
    model, x = trained(Normed()), torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, fast = (explain(model, x, method(name), 1, optimise=on) for on in (False, True))
    (note,) = [note for note in fast.notes if "optimised" in note]
    if note.startswith("not optimised"):
        assert plain.by.family not in _optimised.FAMILIES or "more of the network" in note
        assert torch.equal(fast.evidence, plain.evidence)
    assert "bfloat16" not in note or (bits_16 and plain.by.family != "perturbation")
    strongest = float(plain.evidence.abs().max())
    assert float((plain.evidence - fast.evidence).abs().max()) <= 2 * _optimised.MOST["bfloat16" in note] * strongest


def test_the_model_is_left_as_it_was(bits_16: bool) -> None:
    model, x = trained(Normed()).train(), torch.randn(2, 1, 32, 32)
    before, formats = state(model), [parameter.stride() for parameter in model.parameters()]
    explain(model, x, optimise=True)
    assert state(model) == before
    assert [parameter.stride() for parameter in model.parameters()] == formats
    assert x.is_contiguous()


def test_the_same_again_is_the_same_copy_and_new_weights_are_seen() -> None:
    model, x = trained(Normed()), torch.randn(2, 1, 32, 32)
    first = explain(model, x, targets=1, optimise=True)
    copies = _optimised._known[model]
    assert torch.equal(explain(model, x, targets=1, optimise=True).evidence, first.evidence)
    assert _optimised._known[model] is copies
    with torch.no_grad():
        model.fc.weight.mul_(2)
    torch.testing.assert_close(explain(model, x, targets=1, optimise=True).evidence, 2 * first.evidence)
    model.fc.weight.data.mul_(2)  # as moving averages of weights are written
    torch.testing.assert_close(explain(model, x, targets=1, optimise=True).evidence, 4 * first.evidence)
    model.fc = nn.Linear(12, 3)
    plain = explain(model, x, targets=1)
    torch.testing.assert_close(explain(model, x, targets=1, optimise=True).evidence, plain.evidence, rtol=0, atol=0.02)


def test_an_early_layer_has_a_plain_network_behind_it(bits_16: bool) -> None:
    """No gradient is computed through channels-last or 16 bits convolutions."""
    model, x = trained(Normed()), torch.randn(2, 1, 32, 32)
    plain = explain(model, x, "hirescam", "all", "stem_norm")
    fast = explain(model, x, "hirescam", "all", "stem_norm", optimise=True)
    strongest = float(plain.evidence.abs().max())
    assert float((plain.evidence - fast.evidence).abs().max()) < _optimised.MOST[bits_16] * strongest
    (made,) = _optimised._known[model].by_key.values()
    assert made.model.stem.weight.is_contiguous(memory_format=torch.channels_last)
    assert made.model.body.weight.is_contiguous()
    assert made.model.body.weight.dtype == torch.float32


def test_a_convolution_that_is_explained_keeps_its_own_output() -> None:
    model, x = trained(Normed()), torch.randn(1, 1, 32, 32)
    plain, fast = (explain(model, x, targets=1, layer="body", optimise=on).evidence for on in (False, True))
    torch.testing.assert_close(fast, plain, rtol=0, atol=0.05 * float(plain.abs().max()))
    assert float(plain.abs().max()) > 0


def test_heads_and_targets_of_all_kinds(bits_16: bool) -> None:
    model, x = trained(Normed()), torch.randn(3, 1, 32, 32)
    for targets in ("predicted", [2, 0, 1], torch.tensor([[0, 1], [1, 2], [2, 0]]), lambda y: y[:, 0] - y[:, 2]):
        plain, fast = (explain(model, x, targets=targets, optimise=on).evidence for on in (False, True))
        torch.testing.assert_close(fast, plain, rtol=0, atol=0.05 * float(plain.abs().max()))
    dense = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    plain, fast = (explain(dense, x, targets=1, layer="2", optimise=on).evidence for on in (False, True))
    torch.testing.assert_close(fast, plain, rtol=0, atol=0.05 * float(plain.abs().max()))


def said(model: nn.Module, x: Tensor, *more: object, **options: object) -> str:
    explained = explain(model, x, *more, optimise=True, **options)  # type: ignore[call-overload]
    (note,) = [note for note in explained.notes if "optimised" in note]
    return str(note)


def test_methods_that_walk_through_the_network_explain_the_model_itself() -> None:
    model, x = trained(Normed()), torch.randn(1, 1, 32, 32)
    plain = explain(model, x, "gradient", 1)
    assert "more of the network than one layer" in said(model, x, "gradient", 1)
    assert torch.equal(explain(model, x, "gradient", 1, optimise=True).evidence, plain.evidence)


def test_what_cannot_be_copied_or_checked_is_explained_itself() -> None:
    assert "used more than once" in said(Twice().eval(), torch.randn(1, 3, 8, 8))

    class NoCopy(Linear):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise TypeError("on purpose")

    x = torch.randn(1, 1, 16, 16)
    assert "does not run (TypeError)" in said(NoCopy().eval(), x)
    torch.testing.assert_close(explain(NoCopy().eval(), x, optimise=True).evidence, explain(Linear(), x).evidence)


def test_a_network_that_looks_at_its_maps_as_rows_keeps_the_usual_order() -> None:
    class Viewed(Normed):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem_norm(self.stem(x)))
            x = x.view(len(x), -1).view(x.shape)  # channels last has no such rows
            x = self.act(self.body_norm(self.body(x)))
            return self.fc(x.flatten(2).mean(2))

    note = said(trained(Viewed()), torch.randn(1, 1, 32, 32))
    assert "optimised copy" in note
    assert "channels last" not in note


def test_frames_that_are_folded_into_the_batch(bits_16: bool) -> None:
    model, clip = FrameWise(trained(Normed())).eval(), torch.randn(2, 1, 3, 32, 32)
    plain, fast = (explain(model, clip, targets=1, optimise=on) for on in (False, True))
    assert any("2 batch norms folded, channels last" in note for note in fast.notes)
    strongest = float(plain.evidence.abs().max())
    assert float((plain.evidence - fast.evidence).abs().max()) < _optimised.MOST[bits_16] * strongest


def test_sixteen_bits_that_deviate_too_much_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that shows the small difference of two large numbers."""

    class Delicate(Normed):
        def __init__(self) -> None:
            super().__init__()
            self.again = copy.deepcopy(self.body)
            with torch.no_grad():
                self.again.weight.add_(1e-3 * torch.randn_like(self.again.weight))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.stem_norm(self.stem(x)))
            x = self.act(1000 * (self.body(x) - self.again(x)))
            return self.fc(x.flatten(2).mean(2))

    monkeypatch.setattr(_optimised, "gains", lambda device: True)
    model, x = trained(Delicate()), torch.randn(1, 1, 32, 32)
    note = said(model, x)
    assert "bfloat16" not in note
    plain, fast = (explain(model, x, optimise=on).evidence for on in (False, True))
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-3 * float(plain.abs().max()))


def test_a_value_that_passes_the_layer_on_another_way(bits_16: bool) -> None:
    model, x = Skip().eval(), torch.randn(2, 1, 16, 16)
    plain, fast = (explain(model, x, targets=1, layer="low", optimise=on).evidence for on in (False, True))
    torch.testing.assert_close(fast, plain, rtol=0, atol=0.05 * float(plain.abs().max()))


def test_a_number_that_the_model_keeps_is_seen() -> None:
    class Tempered(Normed):
        temperature = 1.0

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / self.temperature

    model, x = trained(Tempered()), torch.randn(1, 1, 32, 32)
    model.temperature = 2.0
    halved = explain(model, x, targets=1, optimise=True).evidence
    model.temperature = 4.0
    torch.testing.assert_close(explain(model, x, targets=1, optimise=True).evidence, halved / 2)
