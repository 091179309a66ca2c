"""Relevance through transformers against the rules written out backwards, and what is kept of it on the way."""

import math

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import Tap, explain
from medcam.explainers._capture import Capture
from medcam.explainers._session import undisturbed
from medcam.explainers.transformer_lrp import INPUT, _Rules
from tests.explainers.transformers import Block, Tokens, seen


def through_linear(relevance: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """z+: R_j = sum_k (x_j w_kj)+ / sum_j' (x_j' w_kj')+ R_k."""
    parts = (x[..., None, :] * weight).clamp(min=0)  # (..., out, in)
    whole = parts.sum(-1, keepdim=True)
    return (torch.where(whole > 0, parts / whole, 0) * relevance[..., None]).sum(-2)


def through_product(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Of a @ b, entry by entry: R_ij = sum_d a_ij b_jd R_id / z_id for a, likewise for b, half each."""
    parts = a[..., :, :, None] * b[..., None, :, :]  # (..., i, j, d)
    shares = parts / parts.sum(-2, keepdim=True) * relevance[..., :, None, :] / 2
    return shares.sum(-1), shares.sum(-3)


def through_sum(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """In proportion, then each scaled to |its sum| / (|sum a| + |sum b|) of the whole."""
    parts = [each * relevance / (a + b) for each in (a, b)]
    size = sum(part.sum().abs() for part in parts)
    return tuple(part * (part.sum().abs() / size * relevance.sum() / part.sum()) for part in parts)  # type: ignore


def through_block(block: Block, x: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """From a block's output to its input (n, C) and to its attention (heads, n, n)."""
    attn, (first, gelu, second) = block.attn, block.mlp
    a = block.norm1(x)
    q, k, v = attn.qkv(a).unflatten(-1, (3, attn.heads, -1)).permute(1, 2, 0, 3)  # each (heads, n, d)
    matrix = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    mixed = (matrix @ v).transpose(0, 1).flatten(1)
    added = attn.out(mixed)
    middle = x + added
    b = block.norm2(middle)
    hidden = gelu(first(b))

    kept, branch = through_sum(relevance, middle, second(hidden))
    branch = through_linear(through_linear(branch, hidden, second.weight), b, first.weight)
    kept, branch = through_sum(kept + branch, x, added)
    heads = through_linear(branch, mixed, attn.out.weight).unflatten(1, (attn.heads, -1)).transpose(0, 1)
    of_matrix, of_v = through_product(heads, matrix, v)
    of_q, of_k = through_product(of_matrix, q, k.mT)
    of_qkv = torch.stack([of_q, of_k.mT, of_v]).permute(2, 0, 1, 3).flatten(1)
    return kept + through_linear(of_qkv, a, attn.qkv.weight), of_matrix


def slow(model: Tokens, x: Tensor, target: int) -> tuple[list[Tensor], list[float]]:
    """For one image the relevance of each block's attention (heads, n, n), first to last, and of each block's input."""
    inputs: list[Tensor] = []
    handles = [block.register_forward_hook(lambda m, args, out: inputs.append(args[0][0])) for block in model.blocks]
    handles.append(model.norm.register_forward_hook(lambda m, args, out: inputs.append(out[0])))
    model(x)
    for handle in handles:
        handle.remove()
    *tokens, last = inputs
    read = last[:1] if model.reads == "first" else last[model.extras if model.reads == "patches" else 0 :]
    relevance = through_linear(torch.eye(model.fc.out_features)[target].double(), read.mean(0), model.fc.weight)
    relevance = torch.zeros_like(last).index_put(
        (torch.arange(len(last) - len(read), len(last)) if model.reads != "first" else torch.zeros(1).long(),),
        relevance * read / read.sum(0),
    )
    found, totals = [], []
    for block, x_in in zip(reversed(model.blocks), reversed(tokens), strict=True):
        relevance, of_matrix = through_block(block, x_in, relevance)
        found.append(of_matrix)
        totals.append(float(relevance.sum()))
    return found[::-1], totals[::-1]


@pytest.mark.parametrize(("axes", "space"), [(2, (16, 24)), (3, (8, 12, 16))])
@pytest.mark.parametrize(("extras", "reads"), [(1, "first"), (0, "all"), (3, "patches")])
@torch.no_grad()
def test_the_rules_backwards_and_the_papers_product(axes: int, space: tuple[int, ...], extras: int, reads: str) -> None:
    model = Tokens(axes, extras, reads, space=space).eval().double()
    images = torch.randn(2, 1, *space, generator=torch.Generator().manual_seed(0)).double()
    explained = explain(model, images, "transformer_lrp", "all")
    for sample in range(2):
        for target in range(3):
            with torch.enable_grad():
                _, gradients, _ = seen(model, images[sample : sample + 1], target)
            relevant, totals = slow(model, images[sample : sample + 1], target)
            assert totals == pytest.approx([1.0] * len(totals), abs=0.05)  # units for which nothing speaks keep theirs
            total = torch.eye(relevant[0].shape[-1]).double()
            for own, slope in zip(relevant, gradients, strict=True):
                total = total + (own * slope[0]).clamp(min=0).mean(0) @ total
            total = total - torch.eye(len(total))
            row = total[0] if reads == "first" else total[extras if reads == "patches" else 0 :].mean(0)
            wanted = row[extras:].reshape([size // 4 for size in space]).float()
            assert wanted.max() > 0
            found = explained.evidence[sample, target]
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))


@pytest.mark.parametrize("way", ["matrix", "fused", "torch"])
def test_relevance_is_kept_from_block_to_block_and_from_layer_to_layer(way: str) -> None:
    """Through linear layers, GELU, normalisation, softmax and products; of an image that leaves no unit without parts."""
    model = Tokens(way=way).eval().double()
    x = torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(2)).double()
    attention = Tap("blocks.2.attn.inner" if way == "torch" else "blocks.2.attn", 2, "attention")
    inside = ["attn", "norm1", "mlp.2", "mlp.1", "mlp.0", "norm2"]
    taps = [Tap("norm"), *(Tap(f"blocks.{k}") for k in range(3)), *(Tap(f"blocks.2.{name}") for name in inside)]
    with undisturbed(model, x.device):
        expected = model(x)
        with _Rules():
            capture = Capture(model, x, [INPUT, *taps, attention])
        torch.testing.assert_close(capture.output.detach(), expected)
        score = capture.output[:, 1]
        found = capture.gradients(score / score.detach(), [*taps, attention])
    parts = zip([*taps, attention], found, strict=True)
    norm, first, second, third, attn, norm1, *mlp, matrix = (float((capture.activation(t) * g).sum()) for t, g in parts)
    assert [norm, third, second, first] == pytest.approx([1.0] * 4)
    assert mlp == pytest.approx([mlp[0]] * 4)
    assert norm1 == pytest.approx(attn)
    assert matrix == pytest.approx(attn / 2)  # the other half is the values'


def test_what_is_not_kept_is_told() -> None:
    class Offset(Tokens):
        """Adds what is no value of the network to its tokens: that takes its share."""

        def __init__(self) -> None:
            super().__init__()
            self.last = self.blocks[2]
            self.blocks[2] = nn.Sequential(self.last, Shifted())

    class Shifted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 3.0

    x = torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    assert any("reach the first block" in note for note in explain(Offset().eval(), x, "transformer_lrp", 1).notes)
    assert not any("reach the first" in note for note in explain(Tokens().eval(), x, "transformer_lrp", 1).notes)


def test_relevance_begins_with_one_whatever_the_score() -> None:
    """With one block the map is as large as the slopes: of a tenth of the head a tenth, whatever the bias made of it."""
    model, x = Tokens(depth=1).eval(), torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    usual = explain(model, x, "transformer_lrp", 1).evidence
    with torch.no_grad():
        model.fc.weight.mul_(0.1)
        model.fc.bias.add_(5.0)
    assert usual.max() > 0
    torch.testing.assert_close(explain(model, x, "transformer_lrp", 1).evidence, 0.1 * usual, rtol=1e-3, atol=1e-9)


def test_without_gradient_the_map_is_zero_and_flagged() -> None:
    model = Tokens().eval()
    nn.init.zeros_(model.fc.weight)
    explained = explain(model, torch.randn(1, 1, 16, 24), "transformer_lrp", 1)
    assert explained.evidence.abs().max() == 0
    assert "empty" in explained.flags[0, 0][0]
