"""Traces: blanks tell the same as a real forward pass, cost nothing, and follow a model that is edited."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcam.explainers import explain
from medcam.explainers._session import undisturbed
from medcam.explainers._trace import Call, _recorded, trace
from tests.explainers.nets import Flat, FrameWise, Linear, Skip, Twice


class Everything(nn.Module):
    """Operations of many kinds on the way to one map."""

    def __init__(self, axes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        deep = axes == 3
        convolution = nn.Conv3d if deep else nn.Conv2d
        self.stem = convolution(2, 8, 5, stride=2, padding=2, dilation=1, groups=2)
        self.instance = nn.InstanceNorm3d(8) if deep else nn.InstanceNorm2d(8)
        self.group = nn.GroupNorm(2, 8)
        self.down = (nn.MaxPool3d if deep else nn.MaxPool2d)(3, 2, 1, ceil_mode=True)
        self.left, self.right = convolution(4, 4, 3, padding=2, dilation=2), convolution(4, 4, 1)
        self.up = (nn.ConvTranspose3d if deep else nn.ConvTranspose2d)(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.smooth = (nn.AvgPool3d if deep else nn.AvgPool2d)(2)
        self.end = nn.PReLU()
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, [1, 2] * (x.ndim - 2), mode="replicate")
        x = self.down(self.group(functional.silu(self.instance(self.stem(x)))))
        left, right = x.chunk(2, dim=1)
        x = torch.cat([self.left(left), self.right(right)], dim=1)
        x = functional.normalize(x, dim=1)
        gate = torch.sigmoid(x.flatten(2).mean(2))
        x = x * gate.reshape(*gate.shape, *[1] * (x.ndim - 2)) + x.softmax(1)
        x = self.smooth(functional.interpolate(self.up(x), scale_factor=2.0))
        x = self.end(x[:, :, 1:].contiguous())
        return self.fc(x.mean(tuple(range(2, x.ndim))))


def told(calls: tuple[Call, ...] | list[Call], batch: int) -> list[object]:
    """What a trace says, whatever the batch."""
    facts: list[object] = []
    for call in calls:
        layout = None if call.layout is None else tuple(
            tuple((axis.source, axis.stride, axis.offset) for axis in dim) for dim in call.layout
        )  # fmt: skip
        rows = call.shape[0] / batch if call.shape else 0
        facts.append((call.module, call.index, call.began, rows, call.shape[1:], layout))
    return facts


MODELS = [
    (Linear(), (1, 1, 16, 16)), (Linear(3), (1, 1, 16, 16, 16)), (Flat(), (1, 1, 16, 16)), (Twice(), (1, 3, 9, 11)),
    (Skip(), (1, 1, 16, 16)), (FrameWise(Linear()), (1, 1, 3, 16, 16)), (Everything(), (1, 2, 33, 41)),
    (Everything(3), (1, 2, 19, 22, 23)),
]  # fmt: skip


@pytest.mark.parametrize(("model", "shape"), MODELS)
def test_blanks_tell_what_a_real_forward_pass_tells(model: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    blank = trace(model.eval(), x)
    assert blank.batch == 2, "it ran on blanks"
    with undisturbed(model, x.device), _recorded(model, x, values=True) as (calls, *_):
        output = model(x)
    assert told(blank.calls, 2) == told(calls, 1)
    assert blank.output_shape[1:] == tuple(output.shape[1:])
    assert all(call.layout is not None for call in calls), "every layout is composed"


def test_many_kinds_of_operations_compose_to_the_right_place() -> None:
    """By hand: pad -1; stem 2 j; pool 4 j; transposed 2 j; nearest x 2: 1 j - .5; mean of two 2 j; row 0 dropped."""
    alignment = explain(Everything(), torch.randn(1, 2, 33, 41), targets=0, layer="end").alignment
    assert alignment.how == "composed"
    assert alignment.stride == (2, 2)
    assert alignment.offset == (-1 - 0.5 + 0.5 + 2, -1 - 0.5 + 0.5)


def test_a_trace_computes_no_convolution_and_keeps_no_memory() -> None:
    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            assert "convolution" not in str(func)
            if isinstance(out, Tensor):
                assert out.untyped_storage().nbytes() < 300_000, func
            return out

    with Watch():
        traced = trace(Linear(3).eval(), torch.zeros(()).expand(1, 1, 256, 256, 256))
    assert traced.calls[-1].module == ""
    stored = [tensor.untyped_storage().nbytes() for call in traced.calls for tensor in [call.blank]]
    assert max(stored) < 100


def test_an_edited_model_is_traced_anew() -> None:
    model = Linear().eval()
    x = torch.randn(1, 1, 16, 16)
    assert explain(model, x, targets=0).alignment.stride == (4, 4)
    assert trace(model, x) is trace(model, torch.randn(5, 1, 16, 16)), "remembered, whatever the batch"
    model.stem.stride = (1, 1)
    assert explain(model, x, targets=0).alignment.stride == (2, 2)


def test_traces_do_not_keep_models_alive() -> None:
    model = Linear().eval()
    explain(model, torch.randn(1, 1, 16, 16))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
