"""What holds for every method on the shelf, by what it declares of itself."""

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers import SHELF, explain
from medcam.explainers.base import InputMethod, Method
from medcam.explainers.cfcam import CFCAM
from medcam.explainers.feature_factorization import FeatureFactorization
from medcam.explainers.fullgrad import FullGrad
from medcam.explainers.rise import RISE
from tests.explainers.nets import FrameWise, Linear, Twice, state

QUICK: dict[str, dict[str, object]] = {
    "smooth_gradcam_plus_plus": {"copies": 2},
    "smoothgrad": {"copies": 3},
    "integrated_gradients": {"steps": 8},
    "rise": {"masks": 64, "cells": 3},
}
"""Settings that make a costly method cheap here, without leaving anything out."""

NAMES = [name for name in SHELF.names() if SHELF.load(name).family != "transformer"]
"""Methods of transformers have a contract of their own: they need one."""


def method(name: str) -> Method:
    return SHELF.load(name)(**QUICK.get(name, {}))


def instances() -> list[Method]:
    """Every method as it is by default, and those that declare something else with other settings."""
    return [
        *(method(name) for name in NAMES),
        CFCAM("reference"),
        FeatureFactorization(parts="present"),
        FullGrad("signed"),
        FullGrad("rescaled"),
        RISE(masks=64, cells=3, of="logit"),
        RISE(masks=64, cells=3, shows="slope"),
    ]


def called(one: Method) -> str:
    settings = {name: value for name, value in vars(one).items() if isinstance(value, str)}
    return " ".join(
        [one.name, *(settings[name] for name in ("mode", "parts", "psi", "shows", "of") if name in settings)]
    )


every_instance = pytest.mark.parametrize("one", instances(), ids=called)


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def told(name: str, model: nn.Module, x: Tensor, targets: object = "all", **more: object) -> Tensor:
    return explain(model, x, method(name), targets, **more).evidence  # type: ignore[call-overload,no-any-return]


class Wrapped(nn.Module):
    """A model whose output is hidden in something else."""

    def __init__(self, model: nn.Module, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.model, self.wrap = model, wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.model(x))


@pytest.mark.parametrize("name", NAMES)
def test_declares_what_it_is(name: str) -> None:
    one = method(name)
    assert one.name == name
    assert one.unit in ("logit", "score drop", "arbitrary")
    assert one.paper
    assert type(one).__doc__


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [2, 3])
def test_a_batch_row_is_the_image_alone(name: str, axes: int) -> None:
    model, x = Linear(axes).eval(), image(3, 1, *[16] * axes)
    together = told(name, model, x)
    assert torch.isfinite(together).all()
    assert together.shape[:2] == (3, 3)
    assert together.ndim == 2 + axes
    for row in range(3):
        torch.testing.assert_close(together[row : row + 1], told(name, model, x[row : row + 1]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_a_clip_have_their_own_maps(name: str) -> None:
    model, clip = FrameWise(Linear()).eval(), image(2, 1, 3, 16, 16)
    evidence = told(name, model, clip)
    assert evidence.shape[2] == 3
    assert torch.isfinite(evidence).all()
    torch.testing.assert_close(evidence[1:], told(name, model, clip[1:]), rtol=1e-3, atol=1e-5)


@every_instance
def test_another_target_has_another_map_if_that_is_what_it_says(one: Method) -> None:
    evidence = explain(Linear().eval(), image(1, 1, 16, 16), one, "all").evidence[0]
    same = torch.allclose(evidence[0], evidence[1], atol=1e-6)
    assert same != one.class_specific


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_each_samples_own(name: str) -> None:
    """The fault of MONAI 1.6: every sample got the gradient of every sample's class."""
    model, x = Linear().eval(), image(4, 1, 16, 16)
    everything = told(name, model, x)
    chosen = told(name, model, x, [2, 0, 1, 0])[:, 0]
    for row, target in enumerate((2, 0, 1, 0)):
        torch.testing.assert_close(chosen[row], everything[row, target], rtol=1e-3, atol=1e-5)


@every_instance
def test_unsigned_methods_have_nothing_below_zero(one: Method) -> None:
    evidence = explain(Linear().eval(), image(3, 1, 16, 16), one, "all").evidence
    assert one.signed or evidence.min() >= 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["single-logit", "sigmoid"])
def test_heads_of_one_logit_and_of_many_labels(name: str, head: str) -> None:
    if name == "finercam" and head == "single-logit":
        pytest.skip("finercam compares classes")
    model, x = Linear(classes=1 if head == "single-logit" else 3).eval(), image(2, 1, 16, 16)
    one = told(name, model, x, 1, head=head)
    assert torch.isfinite(one).all()
    assert one.shape[1] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_model_inside_no_grad_is_explained_alike(name: str) -> None:
    x, free = image(1, 1, 16, 16), Linear(inplace=True).eval()
    before = told(name, free, x)
    for parameter in free.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(told(name, free, x), before)
    with torch.inference_mode():
        torch.testing.assert_close(told(name, free, x.clone()).clone(), before)


@pytest.mark.parametrize("name", NAMES)
def test_tuples_dicts_and_other_layouts_of_memory(name: str) -> None:
    model, x = Linear().eval(), image(2, 1, 16, 16)
    plain = told(name, model, x)
    for wrap in (lambda y: (y, {"aux": y * 2}), lambda y: {"aux": y.sum(), "logits": y}):
        torch.testing.assert_close(told(name, Wrapped(model, wrap).eval(), x), plain, rtol=1e-3, atol=1e-5)
    model, last = Linear().eval().to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(told(name, model, last), plain, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_sixteen_bits_tell_nearly_the_same(name: str) -> None:
    x = image(1, 1, 16, 16)
    whole, half = (
        told(name, Linear().eval(), x, 0).float(),
        told(name, Linear().eval().bfloat16(), x.bfloat16(), 0).float(),
    )
    assert torch.isfinite(half).all()
    flat = torch.stack([whole.flatten(), half.flatten()])
    assert torch.corrcoef(flat)[0, 1] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_module_that_is_used_twice(name: str) -> None:
    evidence = told(name, Twice().eval(), image(2, 3, 8, 8), layer="conv") if not _needs_linear_head(name) else None
    assert evidence is None or torch.isfinite(evidence).all()


def _needs_linear_head(name: str) -> bool:
    return name == "cam"  # the first call's output also reaches the head, so that there is no closed form


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_left_as_it_was(name: str) -> None:
    model, x = Linear(inplace=True).train(), image(2, 1, 16, 16)
    model.fc.weight.requires_grad_(False)
    model.body.weight.grad = torch.ones_like(model.body.weight)
    before = state(model)
    told(name, model, x)
    assert state(model) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_left_as_it_was_after_an_error_too(name: str) -> None:
    class Fails(Linear):
        """At each of the passes in turn, until one is reached no more."""

        left = 0

        def forward(self, x: Tensor) -> Tensor:
            self.left -= 1
            if self.left == 0 and x.device.type != "meta":
                raise RuntimeError("planned")
            return super().forward(x)

    model, x = Fails(inplace=True).train(), image(2, 1, 16, 16)
    for after in (1, 2, 3, 5):
        model.left = after
        before = state(model)
        with contextlib.suppress(RuntimeError, ExplainError):
            told(name, model, x)
        model.left = after
        assert state(model) == before


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_same(name: str) -> None:
    model, x = Linear().eval(), image(2, 1, 16, 16)
    torch.manual_seed(1)
    once = told(name, model, x)
    torch.manual_seed(2)
    assert torch.equal(once, told(name, model, x))


@every_instance
def test_a_larger_logit_gives_a_larger_map_of_the_same_form_if_that_is_what_it_says(one: Method) -> None:
    model, x = Linear().eval(), image(1, 1, 16, 16)
    before = explain(model, x, one, "all").evidence
    with torch.no_grad():
        model.fc.weight.mul_(10)
        model.fc.bias.mul_(10)
    after = explain(model, x, one, "all").evidence
    if one.unit == "logit":
        torch.testing.assert_close(after, 10 * before, rtol=1e-3, atol=1e-5)
    forms = after / after.abs().max(), before / before.abs().max()
    assert one.scales == torch.allclose(*forms, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_channels_does_not_matter(name: str) -> None:
    model, x = Linear().eval(), image(2, 1, 16, 16)
    before = told(name, model, x, layer="act")
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    with torch.no_grad():
        model.body.weight.copy_(model.body.weight[order].clone())
        model.body.bias.copy_(model.body.bias[order].clone())
        model.fc.weight.copy_(model.fc.weight[:, order].clone())
    torch.testing.assert_close(told(name, model, x, layer="act"), before, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_healthy_image_is_not_painted_hot(name: str) -> None:
    """In logits a network that says "no" has little to show, whatever its greatest cell is."""
    one = method(name)
    if one.unit != "logit" or isinstance(one, InputMethod):
        pytest.skip(f"{name} is in no unit that two images share")
    torch.manual_seed(0)
    model = Linear(classes=2).eval()
    with torch.no_grad():  # all channels speak for the finding, which an empty image does not have
        model.fc.weight.abs_()
        model.fc.weight[0] = 0
        model.stem.bias.zero_()
        model.body.bias.zero_()
    sick, healthy = image(1, 1, 16, 16) * 3, image(1, 1, 16, 16, seed=1) * 1e-2
    hot, cold = (explain(model, x, method(name), 1).display().max() for x in (sick, healthy))
    assert cold < 0.1 * hot


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_is_refused(name: str) -> None:
    x = image(1, 1, 16, 16)
    x[0, 0, 3, 3] = torch.nan
    with pytest.raises(ExplainError, match="not-finite"):
        told(name, Linear().eval(), x)
    broken = Linear().eval()
    with torch.no_grad():
        broken.body.weight[0, 0, 0, 0] = torch.inf
    with pytest.raises(ExplainError, match="not-finite"):
        told(name, broken, image(1, 1, 16, 16))


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_network_is_flagged_not_painted(name: str) -> None:
    model = Linear().eval()
    with torch.no_grad():
        model.fc.weight.zero_()
        model.body.weight.zero_()
        model.body.bias.fill_(-1)
    explained = explain(model, image(1, 1, 16, 16), method(name), 0)
    assert explained.evidence.abs().max() == 0
    assert explained.flags
