"""The tap contract: what is captured is right for awkward models, and the model is left as it was."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.explainers._capture import Capture, Tap, tapped
from medcam.explainers._session import undisturbed
from tests.explainers.nets import Flat, FrameWise, Linear, Skip, Twice, state


def test_nothing_of_the_model_changes() -> None:
    model = Linear().train()
    model.stem.eval()
    model.body.weight.requires_grad_(False)
    model.fc(torch.ones(1, 6)).sum().backward()
    model.act.register_forward_hook(lambda module, args, output: None)
    before = state(model)
    x = torch.full((2, 1, 16, 16), 0.5)
    explain(model, x, ["gradcam", "layercam"], targets="all")
    assert state(model) == before


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:  # in the captured pass, half way through the tail
            raise ZeroDivisionError("broken on purpose")
        return x


def test_nothing_of_the_model_changes_when_it_raises() -> None:
    model = Linear().train()
    model.fc = nn.Sequential(model.fc, Raises())
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        explain(model, torch.full((1, 1, 16, 16), 0.5))
    with pytest.raises(ExplainError):
        explain(model, torch.full((1, 1, 16, 16), 0.5), layer="nowhere")
    assert state(model) == before


def test_nothing_of_the_trunk_is_recorded() -> None:
    model = Linear()
    saved: list[torch.Size] = []

    def save(tensor: Tensor) -> Tensor:
        saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        explain(model, torch.randn(2, 1, 64, 64))
    cells = [shape.numel() for shape in saved]
    assert cells, "the tail is recorded"
    assert max(cells) <= 2 * 6 * 16 * 16, f"something larger than the explained map was kept: {saved}"


def test_results_hold_no_graph() -> None:
    explained = explain(Linear(), torch.randn(2, 1, 16, 16).requires_grad_(), targets="all")
    for tensor in (explained.evidence, explained.scores, explained.output, explained.images, explained.targets.scalars):
        assert not tensor.requires_grad


def test_in_place_activation_behind_the_layer_does_not_reach_the_map() -> None:
    x = torch.randn(2, 1, 16, 16)
    plain, in_place = Linear(inplace=False), Linear(inplace=True)
    for layer in ("body", "act"):
        expected = explain(plain, x, "hirescam", targets="all", layer=layer).evidence
        torch.testing.assert_close(explain(in_place, x, "hirescam", targets="all", layer=layer).evidence, expected)


def test_each_call_of_a_shared_module_has_its_own_map() -> None:
    model = Twice().eval()
    x = torch.randn(1, 3, 8, 8)
    seen: list[Tensor] = []
    handle = model.conv.register_forward_hook(lambda module, args, output: seen.append(output))
    score = model(x)[0, 1]
    handle.remove()
    gradients = torch.autograd.grad(score, seen)
    for call in (0, 1):
        expected = (gradients[call].mean((2, 3), keepdim=True) * seen[call]).sum(1)
        explained = explain(model, x, targets=1, layer=Tap("conv", call))
        torch.testing.assert_close(explained.evidence[0], expected.detach())
    assert torch.equal(explain(model, x, targets=1, layer="conv").evidence, explained.evidence)
    assert any("called 2 times" in note for note in explain(model, x, layer="conv").notes)


@pytest.mark.parametrize("wrap", [tuple, dict, "nested"])
def test_tuple_and_dict_outputs(wrap: object) -> None:
    class Wrapped(Linear):
        def forward(self, x: Tensor) -> object:
            logits = super().forward(x)
            if wrap is dict:
                return {"features": x.mean(), "logits": logits}
            return (logits, [x]) if wrap is tuple else ((logits,), {"x": x})

    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(explain(Wrapped(), x, targets=1).evidence, explain(Linear(), x, targets=1).evidence)


def test_a_layer_that_returns_a_tuple() -> None:
    class Pair(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            return self.inner(x), 7

    class Outer(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.body = Pair(self.body)

        def forward(self, x: Tensor) -> Tensor:
            features, seven = self.body(torch.relu(self.stem(x)))
            assert seven == 7
            return self.fc(self.act(features).flatten(2).mean(2))

    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(
        explain(Outer(), x, targets=1, layer="body").evidence, explain(Linear(), x, targets=1, layer="body").evidence
    )


def test_channels_last_and_bfloat16() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    expected = explain(model, x, "hirescam", targets=1).evidence
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        explain(last, x.contiguous(memory_format=torch.channels_last), "hirescam", 1).evidence, expected
    )
    half = copy.deepcopy(model).bfloat16()
    explained = explain(half, x.bfloat16(), "hirescam", targets=1)
    assert explained.evidence.dtype == torch.float32
    torch.testing.assert_close(explained.evidence, expected, atol=0.05 * expected.abs().max().item(), rtol=0)


def test_frozen_model_and_callers_grad_modes() -> None:
    model, x = Linear(), torch.randn(2, 1, 16, 16)
    expected = explain(model, x, targets=1).evidence
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert torch.equal(explain(frozen, x, targets=1).evidence, expected)
    with torch.no_grad():
        assert torch.equal(explain(model, x, targets=1).evidence, expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inferred = x.clone()
        assert torch.equal(explain(model, inferred, targets=1).evidence, expected)
    assert torch.is_grad_enabled()


def test_a_trunk_that_runs_without_grad_by_itself() -> None:
    class Frozen(Linear):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.act(self.body(torch.relu(self.stem(x))))
            return self.fc(x.flatten(2).mean(2))

    class Inside(Linear):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    x = torch.randn(2, 1, 16, 16)
    expected = explain(Linear(), x, targets=1).evidence
    assert torch.equal(explain(Frozen(), x, targets=1).evidence, expected)
    assert torch.equal(explain(Inside(), x, targets=1).evidence, expected)


def test_wrappers_are_looked_through() -> None:
    x = torch.randn(2, 1, 16, 16)
    expected = explain(Linear(), x, targets=1).evidence
    assert torch.equal(explain(nn.DataParallel(Linear()), x, targets=1).evidence, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.compile itself
        compiled = torch.compile(Linear())
        in_place = Linear()
        in_place.compile()
    assert torch.equal(explain(compiled, x, targets=1).evidence, expected)
    assert torch.equal(explain(in_place, x, targets=1).evidence, expected)
    assert in_place._compiled_call_impl is not None


def test_a_model_without_a_graph_is_refused() -> None:
    class Rounds(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(ExplainError) as error:
        explain(Rounds(), torch.randn(1, 1, 16, 16))
    assert error.value.code == "no-gradient"


TAILS = [
    (Linear, (2, 1, 16, 16), Tap("stem"), True),
    (Linear, (2, 1, 16, 16), Tap("body", 0, "input"), True),
    (Linear, (2, 1, 16, 16), Tap("act"), True),
    (Twice, (2, 3, 8, 8), Tap("conv", 1), False),
    (Flat, (2, 1, 16, 16), Tap("conv"), True),
    (Skip, (2, 1, 16, 16), Tap("low"), False),
    (lambda: FrameWise(Linear()), (2, 1, 5, 16, 16), Tap("image.body"), True),
]


@pytest.mark.parametrize(("build", "shape", "tap", "tail_only"), TAILS)
def test_tail_replay_equals_the_full_forward_pass(
    build: object, shape: tuple[int, ...], tap: Tap, tail_only: bool
) -> None:
    model = build().eval()
    x = torch.randn(shape)
    with undisturbed(model, x.device):
        capture = Capture(model, x, [tap])
        own = capture.activation(tap)
        other = torch.randn_like(own)
        with tapped(model, [tap], lambda tap, tensor: other):
            expected = model(x)
        torch.testing.assert_close(capture.tail(torch.cat([own, other])), torch.cat([capture.output, expected]))
        assert capture.check() == tail_only


def test_tail_does_no_work_before_the_cut() -> None:
    model = Linear().eval()
    x = torch.randn(2, 1, 16, 16)
    with undisturbed(model, x.device):
        capture = Capture(model, x, [Tap("body")])
        convolutions: list[str] = []

        class Watch(torch.utils._python_dispatch.TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
                convolutions.append(str(func))
                return func(*args, **(kwargs or {}))

        capture.tail(capture.activation(Tap("body")))
        with Watch():
            capture.tail(capture.activation(Tap("body")))
    assert not [name for name in convolutions if "convolution" in name]
    assert "forward" not in vars(model.stem)


def test_hooks_of_answered_modules_see_no_blanks_and_stay() -> None:
    model = Linear().eval()
    x = torch.randn(2, 1, 16, 16)
    explain(model, x)  # traced
    seen: list[bool] = []
    model.stem.register_forward_hook(lambda module, args, output: seen.append(bool(output.isfinite().all())))
    with undisturbed(model, x.device):
        capture = Capture(model, x, [Tap("body")])
        capture.tail(capture.activation(Tap("body")))
    assert seen == [True], "once, in the captured pass"
    model(x)
    assert seen == [True, True]


def test_gradients_flow_through_a_tail() -> None:
    model = Linear().eval()
    x = torch.randn(2, 1, 16, 16)
    tap = Tap("body")
    with undisturbed(model, x.device):
        capture = Capture(model, x, [tap])
        again = capture.replay(capture.activation(tap), [tap])
        torch.testing.assert_close(again.gradient(again.output[:, 2], tap), capture.gradient(capture.output[:, 2], tap))


def test_forward_keeps_to_its_budget() -> None:
    model = Linear().eval()
    x = torch.randn(1, 1, 16, 16)
    sizes: list[int] = []
    with undisturbed(model, x.device):
        capture = Capture(model, x, [Tap("body")])
        model.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
        inputs = torch.randn(7, 1, 16, 16)
        torch.testing.assert_close(capture.forward(inputs, 3), model(inputs).detach())
    assert sizes == [3, 3, 1, 7]
