"""Every method gives on a graphics card what it gives on the processor, and takes hardly more memory than a forward."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from medcam.explainers import SHELF, explain
from tests.explainers.nets import Linear
from tests.explainers.test_contract import NAMES, image, method
from tests.explainers.test_transformer_contract import NAMES as OF_TRANSFORMERS
from tests.explainers.test_transformer_contract import SPACES, network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")


@pytest.fixture(autouse=True)
def every_digit() -> Iterator[None]:
    """Without the shortened numbers that a card may multiply."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def same_on_both(name: str, model: nn.Module, x: torch.Tensor, **more: object) -> None:
    here = explain(model, x, method(name), "all", **more)  # type: ignore[call-overload]
    there = explain(model.to("cuda"), x.to("cuda"), method(name), "all", **more)  # type: ignore[call-overload]
    assert there.evidence.device.type == "cuda"
    tolerance = 1e-3 * float(here.evidence.abs().max())
    torch.testing.assert_close(there.evidence.cpu(), here.evidence, rtol=1e-3, atol=tolerance)
    assert there.alignment == here.alignment
    assert there.notes == here.notes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [2, 3])
def test_every_method_gives_the_map_of_the_processor(name: str, axes: int) -> None:
    same_on_both(name, Linear(axes).eval(), image(2, 1, *[16] * axes))


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
@pytest.mark.parametrize("axes", [2, 3])
def test_every_method_of_transformers_does_too(name: str, axes: int) -> None:
    same_on_both(name, network(axes=axes), image(2, 1, *SPACES[axes]))


def test_random_numbers_of_the_card_are_left_as_they_were() -> None:
    model, x = Linear().eval().cuda(), image(1, 1, 16, 16).cuda()
    torch.cuda.manual_seed(3)
    expected = torch.rand(4, device="cuda")
    torch.cuda.manual_seed(3)
    for name in NAMES:
        explain(model, x, method(name), 1)
    assert torch.equal(torch.rand(4, device="cuda"), expected)


def test_the_optimised_copy_deviates_by_what_sixteen_bits_lose() -> None:
    from monai.networks.nets import DenseNet121

    torch.manual_seed(0)
    model, x = DenseNet121(2, 1, 3).eval().cuda(), image(2, 1, 96, 96).cuda()
    plain, fast = (explain(model, x, "gradcam", 1, optimise=faster).evidence for faster in (False, True))
    assert float((fast - plain).norm() / plain.norm()) < 0.05


def test_grad_cam_holds_hardly_more_memory_than_the_forward_pass() -> None:
    from monai.networks.nets import DenseNet121

    torch.manual_seed(0)
    model, x = DenseNet121(3, 1, 2).eval().cuda(), image(1, 1, 64, 64, 64).cuda()

    def forward() -> None:
        with torch.inference_mode():
            model(x)

    def peak(run: object) -> int:
        run()  # type: ignore[operator]
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()  # type: ignore[operator]
        return torch.cuda.max_memory_allocated() - before

    assert peak(lambda: explain(model, x, SHELF.load("gradcam")(), 1)) <= 1.2 * peak(forward)
