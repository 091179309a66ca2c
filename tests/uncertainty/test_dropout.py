"""Monte-Carlo dropout by tail replay against full forward passes with the same masks."""

import numpy as np
import pytest
import torch
from torch import nn

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.explainers._session import undisturbed
from medcam.uncertainty import dropout
from medcam.uncertainty.dropout import Dropout, dropouts, dropping
from tests.explainers.nets import Linear, state
from tests.uncertainty.nets import Dropping


@pytest.mark.parametrize(("rates", "layer"), [((0.3, 0.3), "norm"), ((0.3, 0.0), "norm"), ((0.3, 0.3), "stem")])
def test_replayed_passes_equal_full_forward_passes_with_the_same_masks(rates: tuple[float, float], layer: str) -> None:
    """Dropout before and behind the explained layer: scores and Grad-CAM maps on the full graph."""
    model = Dropping(*rates).eval()
    x = torch.randn(3, 1, 16, 16)
    explained = explain(model, x, targets=1, layer=layer)
    members = list(Dropout(passes=4).members(model, explained, 0, seed=5))
    assert len({round(float(member.logits[0]), 5) for member in members}) > 1, "nothing was dropped"
    for number, member in enumerate(members):
        seen: list[torch.Tensor] = []
        with undisturbed(model, x.device), dropping(model, [5 * 1_000_003 + number]):
            model.requires_grad_(True)
            handle = model.get_submodule(layer).register_forward_hook(lambda m, a, output, s=seen: s.append(output))
            logits = model(x)[:, 0]
            handle.remove()
            (gradient,) = torch.autograd.grad(logits.sum(), seen[0])
        expected = (gradient.mean((2, 3), keepdim=True) * seen[0]).sum(1)
        torch.testing.assert_close(member.logits, logits.detach())
        np.testing.assert_allclose(member.evidence, expected.detach().numpy(), atol=1e-6)


def test_only_the_tail_runs_again() -> None:
    model = Dropping(0.5, 0.0).eval()
    explained = explain(model, torch.randn(2, 1, 16, 16), targets=1)
    calls: list[str] = []
    model.body.register_forward_hook(lambda module, args, output: calls.append("body"))
    model.fc.register_forward_hook(lambda module, args, output: calls.append("fc"))
    Dropout(passes=6).spread(model, explained)
    assert calls.count("body") == 1, "the trunk runs once"
    assert calls.count("fc") == 1 + 1 + 1, "once captured, once checked, then all passes of the small tail together"


def test_passes_together_equal_passes_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Dropping().eval()
    explained = explain(model, torch.randn(3, 1, 16, 16))
    together = Dropout(passes=5).spread(model, explained)
    monkeypatch.setattr(dropout, "AT_ONCE", 1)
    for one, other in zip(together, Dropout(passes=5).spread(model, explained), strict=True):
        assert one.logits == pytest.approx(other.logits)
        np.testing.assert_allclose(one.cells, other.cells, atol=1e-6)


def test_masks_keep_the_mean_and_drop_whole_channels() -> None:
    ones = torch.ones(2, 4000, 3, 3)
    net = nn.Sequential(nn.Dropout2d(0.25)).eval()
    with dropping(net, [0]):
        dropped = net(ones)
    per_channel = dropped.flatten(2)
    assert (per_channel == per_channel[..., :1]).all(), "whole channels"
    assert per_channel.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(dropped[0], dropped[1]), "one thinned network for the whole batch"
    assert torch.equal(net(ones), ones), "nothing is dropped afterwards"


def test_nothing_depends_on_the_batch_and_seeds_repeat() -> None:
    model = Dropping().eval()
    x = torch.randn(3, 1, 16, 16)
    together = Dropout().spread(model, explain(model, x, targets=1))
    alone = Dropout().spread(model, explain(model, x[2:], targets=1))[0]
    assert together[2].uncertainty.scores == pytest.approx(alone.uncertainty.scores)
    np.testing.assert_allclose(together[2].per_cell, alone.per_cell, atol=1e-6)
    other = Dropout().spread(model, explain(model, x[2:], targets=1), seed=1)[0]
    assert other.uncertainty.scores != pytest.approx(alone.uncertainty.scores)


def test_the_model_is_left_as_it_was() -> None:
    model = Dropping().train()
    x = torch.full((1, 1, 16, 16), 0.5)
    before = state(model)
    Dropout(passes=2).spread(model, explain(model, x, targets=1))
    assert state(model) == before


@pytest.mark.parametrize("model", [Linear(classes=1), Dropping(0.0, 0.0)])
def test_a_model_without_dropout_is_refused_by_name(model: nn.Module) -> None:
    explained = explain(model, torch.randn(1, 1, 16, 16), targets=1)
    with pytest.raises(ExplainError) as error:
        Dropout().spread(model, explained)
    assert error.value.code == "no-dropout"


def test_the_first_dropout_is_the_first_that_is_met() -> None:
    x = torch.randn(1, 1, 16, 16)
    assert [call.module for call in dropouts(Dropping(), x)] == ["trunk_drop", "head_drop"]
    assert [call.module for call in dropouts(Dropping(0.3, 0.0), x)] == ["head_drop"]


@pytest.mark.parametrize("time_first", [False, True])
def test_folded_frames_are_dropped_alike(time_first: bool) -> None:
    """Frames before samples or behind them: every pass is still one network for all frames and samples."""

    class Cine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image = Dropping()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, time = x.shape[0], x.shape[2]
            if time_first:
                frames = x.permute(2, 0, 1, 3, 4).reshape(time * batch, 1, *x.shape[3:])
                return self.image(frames).reshape(time, batch, 1).mean(0)
            return self.image(x.transpose(1, 2).reshape(batch * time, 1, *x.shape[3:])).reshape(batch, time, 1).mean(1)

    model, x = Cine().eval(), torch.randn(2, 1, 3, 16, 16)
    spreads = Dropout(passes=3).spread(model, explain(model, x, targets=1))
    with undisturbed(model, x.device):
        for number in range(3):
            with dropping(model, [number]):
                expected = model(x)[:, 0].tolist()
            assert [spread.logits[f"pass {number + 1}"] for spread in spreads] == pytest.approx(expected)
