"""Transformer attribution by relevance (Chefer et al., CVPR 2021)."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from medcam.explainers._attention import SOFTMAX
from medcam.explainers._attention_method import AttentionMethod, attribution, gradients, read_row
from medcam.explainers._blocks import Blocks
from medcam.explainers._capture import Capture, Tap
from medcam.explainers._relevance import positive, shared
from medcam.explainers.base import View

INPUT = Tap("", role="input")
LAYERS = (functional.linear, functional.conv1d, functional.conv2d, functional.conv3d)
SUMS = (torch.add, Tensor.add)
SUMS_IN_PLACE = (Tensor.add_, Tensor.__iadd__)
PRODUCTS = (torch.matmul, Tensor.matmul, torch.bmm, Tensor.bmm, torch.mul, Tensor.mul)
SAME = (*SOFTMAX, functional.layer_norm, functional.gelu, functional.silu, functional.relu, functional.hardswish)
EPSILON = 1e-12
KEPT = 0.05
"""Share of the relevance above which it is told how much was lost or made between the score and the first block."""


class TransformerLRP(AttentionMethod):
    """Attention that is relevant for the target's score and raises it, followed through the blocks.

    As transformer_attribution, but with the relevance of each entry of a matrix, handed down from the score layer by
    layer, in the place of the attention itself. The rules are those of the authors' code: of linear layers what speaks
    for the output (z+), of products half for each factor (the paper scales them as it does sums), of a residual sum
    each branch by the size of what it adds up to; normalisation, activation and softmax hand on what they get. The
    score begins with a relevance of one, whatever its size and sign. What a token is to itself is left out, so that
    without gradient the map is zero. Where an operation without a rule takes or makes relevance on the way, it is told.

    Each image runs alone, since sums are shared out over the whole of it, and in a copy of the model in 64 bits, since
    shares of sums near zero lose digits. Of networks that were hardly trained maps hang by a hair: weights rounded to
    16 bits give others.

    LRP is said to be patented; its authors allow personal and scientific use.

    Source: Chefer, Gur, Wolf, Transformer Interpretability Beyond Attention Visualization, CVPR 2021, arXiv 2012.09838,
    section 3.
    """

    name = "transformer_lrp"
    paper = "Chefer et al. 2021, arXiv 2012.09838"
    scales = False
    forwards = 2
    tail_forwards, tail_backwards = 1, 3  # one of each behind the last block, to see which tokens the head reads

    def relevance(self, view: View, blocks: Blocks) -> Tensor:
        return self.told(view, blocks)[0]

    def told(self, view: View, blocks: Blocks) -> tuple[Tensor, tuple[str, ...]]:
        read, targets = read_row(view, blocks), range(view.scalars.shape[1])
        model, x = _exact(view.capture.model, view.capture.x)
        passed = [self._passed(view, blocks, model, x, sample) for sample in range(len(x))]
        relevant = [torch.cat(parts) for parts in zip(*(parts for parts, _ in passed), strict=True)]
        slopes = (gradients(view, blocks, view.scalars[:, target], blocks.matrices) for target in targets)
        maps = [attribution([each[:, k] for each in relevant], own, read) for k, own in enumerate(slopes)]
        worst = max((kept for _, kept in passed), key=lambda kept: abs(kept - 1))
        notes = () if abs(worst - 1) <= KEPT else (f"of the score's relevance {worst:.0%} reach the first block",)
        return torch.stack(maps, dim=1), notes

    @staticmethod
    def _passed(view: View, blocks: Blocks, model: nn.Module, x: Tensor, sample: int) -> tuple[list[Tensor], float]:
        """What is handed down in one image: for each block the relevance of its attention (rows, K, heads, n, n).

        And the total behind the first block, of the target where it is furthest from one.
        """
        outputs = [block.output for block in blocks.blocks[:1] if block.output is not None]
        taps = [*blocks.matrices, *outputs]
        with _Rules():
            capture = Capture(model, x[sample : sample + 1], [INPUT, *taps])
        scores = view.targets.of(capture.output, torch.tensor([sample], device=x.device))
        begin = scores / torch.where(scores == 0, 1, scores).detach()
        relevant: list[list[Tensor]] = [[] for _ in blocks.blocks]
        kept = [1.0]
        for one in begin.unbind(dim=1):
            parts = [
                capture.activation(tap) * slope for tap, slope in zip(taps, capture.gradients(one, taps), strict=True)
            ]
            for own, part in zip(relevant, parts, strict=False):
                own.append(blocks.heads(part, 1))
            kept += [float(part.double().sum()) for part in parts[len(relevant) :]]
        return [torch.stack(own, dim=1) for own in relevant], max(kept, key=lambda total: abs(total - 1))


def _exact(model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy in 64 bits, since shares of sums near zero lose digits; in 32 where a device has no more."""
    dtype = torch.float32 if x.device.type == "mps" else torch.float64
    return (model, x) if x.dtype == dtype else (copy.deepcopy(model).to(dtype), x.to(dtype))


class _Rules(TorchFunctionMode):
    """Within, operations give what they always give, and back what their rule says."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in SUMS_IN_PLACE and _two(args):
            return args[0].copy_(_sum(*args))
        if func in SUMS and _two(args) and not kwargs:
            return _sum(*args)
        if func is torch.einsum and len(args) == 3 and _two(args[1:]):
            return _halved(lambda a, b: func(args[0], a, b), args[1], args[2])
        if func in PRODUCTS and _two(args) and not kwargs:
            return _halved(func, *args)
        out = func(*args, **kwargs)
        if not args or not isinstance(args[0], Tensor) or not args[0].requires_grad:
            return out
        if func in LAYERS:
            return shared(positive(func, *args, **kwargs), out, EPSILON)
        if func in SAME:
            return shared(args[0], out, EPSILON)
        return out


def _two(args: tuple[Any, ...]) -> bool:
    """Whether these are two values of the network, not a value and a weight."""
    return len(args) == 2 and all(isinstance(each, Tensor) and each.requires_grad for each in args)


def _halved(func: Callable[..., Any], a: Tensor, b: Tensor) -> Any:
    """A product whose factors get half of its relevance each."""
    return (func(a, b.detach()) + func(a.detach(), b)) / 2


def _sum(a: Tensor, b: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(a, b)  # type: ignore[no-untyped-call]  # untyped in torch
    return total


class _Sum(torch.autograd.Function):
    """a + b; of the relevance each gets so much as the size of its sum, and within in proportion."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a + b

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        sums = [(gradients[0] * each).double().sum() for each in ctx.saved_tensors]
        size = torch.stack(sums).abs().sum()
        factor = torch.where(size > 0, sum(sums) / size.clamp(min=1e-300), 0)
        a, b = (
            ((gradients[0] * (each.sign() * factor).to(gradients[0])).sum_to_size(saved.shape))
            for each, saved in zip(sums, ctx.saved_tensors, strict=True)
        )
        return a, b
