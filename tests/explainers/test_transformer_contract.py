"""What holds for every method that looks at attention, on small transformers with a class token and without."""

import contextlib

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers import SHELF, explain
from medcam.explainers.base import Method
from tests.explainers.nets import FrameWise, state
from tests.explainers.transformers import Tokens

NAMES = [name for name in SHELF.names() if SHELF.load(name).family == "transformer"]
SHARED = ["gradcam", "hirescam", "layercam"]
"""Methods of layers that must hold on tokens, too."""
HEADS = {"class token": (1, "first"), "mean": (0, "all"), "registers": (4, "patches")}
SPACES = {2: (16, 24), 3: (8, 12, 16)}


def method(name: str) -> Method:
    return SHELF.load(name)()


def network(head: str = "class token", axes: int = 2, **more: object) -> Tokens:
    extras, reads = HEADS[head]
    return Tokens(axes, extras, reads, space=SPACES[axes], **more).eval()  # type: ignore[arg-type]


def image(count: int, *shape: int) -> Tensor:
    return torch.randn(count, 1, *(shape or SPACES[2]), generator=torch.Generator().manual_seed(0))


def told(name: str, model: nn.Module, x: Tensor, targets: object = "all", **more: object) -> Tensor:
    return explain(model, x, method(name), targets, **more).evidence  # type: ignore[call-overload,no-any-return]


def test_the_family_is_known() -> None:
    assert NAMES == ["attention_rollout", "legrad", "transformer_attribution", "transformer_lrp"]


@pytest.mark.parametrize("name", NAMES)
def test_declares_what_it_is(name: str) -> None:
    one = method(name)
    assert (one.name, one.unit, one.signed, one.replays) == (name, "arbitrary", False, False)
    assert one.paper


@pytest.mark.parametrize("name", NAMES + SHARED)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("axes", [2, 3])
def test_a_batch_row_is_the_image_alone(name: str, head: str, axes: int) -> None:
    model, x = network(head, axes), image(3, *SPACES[axes])
    together = told(name, model, x)
    assert together.shape == (3, 3, *(size // 4 for size in SPACES[axes]))
    assert torch.isfinite(together).all()
    assert together.abs().max() > 0
    assert method(name).signed or together.min() >= 0
    for row in range(3):
        alone = told(name, model, x[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-3, atol=1e-4 * float(together.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", HEADS)
def test_another_target_has_another_map_if_that_is_what_it_says(name: str, head: str) -> None:
    evidence = told(name, network(head), image(1))[0]
    same = torch.allclose(evidence[0], evidence[1], rtol=1e-4, atol=1e-4 * float(evidence.max()))
    assert same != method(name).class_specific


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_each_samples_own(name: str) -> None:
    model, x = network(), image(4)
    everything, chosen = told(name, model, x), told(name, model, x, [2, 0, 1, 0])[:, 0]
    for row, target in enumerate((2, 0, 1, 0)):
        wanted = everything[row, target]
        torch.testing.assert_close(chosen[row], wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["matrix", "fused", "torch"])
def test_a_frozen_model_inside_no_grad_is_explained_alike(name: str, way: str) -> None:
    model, x = network(way=way), image(1)
    before = told(name, model, x)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(told(name, model, x), before)
    with torch.inference_mode():
        torch.testing.assert_close(told(name, model, x.clone()).clone(), before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_tell_nearly_the_same(name: str, dtype: torch.dtype) -> None:
    whole, half = told(name, network(), image(1), 0), told(name, network().to(dtype), image(1).to(dtype), 0)
    rounded = told(name, network().to(dtype).float(), image(1).to(dtype).float(), 0)  # the same weights in 32 bits
    assert half.dtype == torch.float32
    assert torch.isfinite(half).all()
    assert torch.corrcoef(torch.stack([rounded.flatten(), half.flatten()]))[0, 1] > 0.99
    if name != "transformer_lrp":  # of a network that was never trained it says itself that it hangs by a hair
        assert torch.corrcoef(torch.stack([whole.flatten(), half.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["matrix", "fused", "torch"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(name: str, way: str, fails: bool) -> None:
    class Fails(nn.Linear):
        left = 0

        def forward(self, x: Tensor) -> Tensor:
            self.left -= 1
            if self.left == 0:
                raise RuntimeError("planned")
            return super().forward(x)

    model, x = network(way=way).train(), image(2)
    model.fc = Fails(12, 3)
    model.norm.weight.requires_grad_(False)
    model.patch.weight.grad = torch.ones_like(model.patch.weight)
    for after in (1, 2, 3, 4, 5) if fails else (0,):
        model.fc.left = after
        before = state(model)
        with contextlib.suppress(RuntimeError, ExplainError) if fails else contextlib.nullcontext():
            told(name, model, x)
        model.fc.left = after
        assert state(model) == before


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_same(name: str) -> None:
    model, x = network(), image(2)
    torch.manual_seed(1)
    once = told(name, model, x)
    torch.manual_seed(2)
    assert torch.equal(once, told(name, model, x))


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_logit_gives_a_map_of_the_same_form(name: str) -> None:
    if not method(name).scales:
        pytest.skip(f"{name} says that its map's form depends on the logit's size")
    model, x = network(), image(1)
    before = told(name, model, x)
    with torch.no_grad():
        model.fc.weight.mul_(10)
        model.fc.bias.mul_(10)
    after = told(name, model, x)
    torch.testing.assert_close(after / after.max(), before / before.max(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_heads_does_not_matter(name: str) -> None:
    model, x = network(), image(2)
    before = told(name, model, x)
    with torch.no_grad():
        for block in model.blocks:
            qkv, out = block.attn.qkv, block.attn.out
            for tensor in (qkv.weight, qkv.bias):
                tensor.copy_(tensor.unflatten(0, (3, 2, 6)).flip(1).flatten(0, 2).clone())
            out.weight.copy_(out.weight.unflatten(1, (2, 6)).flip(1).flatten(1).clone())
    torch.testing.assert_close(told(name, model, x), before, rtol=1e-3, atol=1e-4 * float(before.max()))


@pytest.mark.parametrize("name", NAMES)
def test_frames_have_their_own_maps(name: str) -> None:
    model, clip = FrameWise(network()).eval(), image(2, 3, *SPACES[2])
    evidence = told(name, model, clip)
    assert evidence.shape == (2, 3, 3, 4, 6)
    torch.testing.assert_close(evidence[1:], told(name, model, clip[1:]), rtol=1e-3, atol=1e-4 * float(evidence.max()))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_is_refused(name: str) -> None:
    x = image(1)
    x[0, 0, 3, 3] = torch.nan
    with pytest.raises(ExplainError, match="not-finite"):
        told(name, network(), x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["single-logit", "sigmoid"])
def test_heads_of_one_logit_and_of_many_labels(name: str, head: str) -> None:
    model = network(classes=1 if head == "single-logit" else 3)
    evidence = told(name, model, image(2), 1, head=head)
    assert evidence.shape == (2, 1, 4, 6)
    assert torch.isfinite(evidence).all()


def test_all_at_once_is_each_alone() -> None:
    """One forward pass for methods of attention, of layers and of the input."""
    model, x = network(), image(2)
    names = [*NAMES, "gradcam", "hirescam", "gradient"]
    for name, explained in explain(model, x, names, "all").items():
        torch.testing.assert_close(explained.evidence, told(name, model, x), rtol=1e-4, atol=1e-7)
