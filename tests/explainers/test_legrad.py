"""LeGrad against its formula, block by block."""

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError, UsageError
from medcam.explainers import explain
from medcam.explainers.legrad import LeGrad
from tests.explainers.transformers import Tokens, seen


def slow(model: Tokens, image: Tensor, target: int, last: int) -> Tensor:
    """(patches,): by hooks, autograd and loops over heads and queries."""
    matrices, _, outputs = seen(model, image, target)
    total = torch.zeros(matrices[0].shape[-1])
    for matrix, output in list(zip(matrices, outputs, strict=True))[-last:]:
        score = model.fc(model.norm(output.mean(1)))[0, target]
        (slope,) = torch.autograd.grad(score, matrix, retain_graph=True)
        rows = [slope[0, head, query].clamp(min=0) for head in range(slope.shape[1]) for query in range(slope.shape[2])]
        total += sum(rows) / len(rows)
    return total[model.extras :] / last


@pytest.mark.parametrize(("axes", "space"), [(2, (16, 24)), (3, (8, 12, 16))])
@pytest.mark.parametrize(("extras", "reads"), [(1, "first"), (0, "all"), (3, "patches")])
@pytest.mark.parametrize("last", [None, 2])
def test_the_papers_formula(axes: int, space: tuple[int, ...], extras: int, reads: str, last: int | None) -> None:
    model = Tokens(axes, extras, reads, space=space).eval()
    images = torch.randn(2, 1, *space)
    explained = explain(model, images, LeGrad(last), "all")
    for sample in range(2):
        for target in range(3):
            wanted = slow(model, images[sample : sample + 1], target, last or 3).reshape([size // 4 for size in space])
            found = explained.evidence[sample, target]
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))


def test_a_head_that_says_nothing_gives_an_empty_map() -> None:
    model = Tokens().eval()
    nn.init.zeros_(model.fc.weight)
    explained = explain(model, torch.randn(1, 1, 16, 24), "legrad", 1)
    assert explained.evidence.abs().max() == 0
    assert "empty" in explained.flags[0, 0][0]


def test_one_block_alone() -> None:
    model, image = Tokens(depth=1).eval(), torch.randn(1, 1, 16, 24)
    found = explain(model, image, "legrad", 2).evidence[0, 0]
    torch.testing.assert_close(found, slow(model, image, 2, 1).reshape(4, 6), rtol=1e-3, atol=1e-8)


def test_blocks_that_are_no_modules_are_refused() -> None:
    class Inline(Tokens):
        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            for block in self.blocks:
                q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, dim=2)
                x = x + block.attn.out((q @ k.transpose(1, 2)).softmax(-1) @ v)
            return self.fc(self.norm(x).mean(1))

    model, image = Inline().eval(), torch.randn(1, 1, 16, 24)
    with pytest.raises(ExplainError, match="LeGrad needs a module for each block"):
        explain(model, image, "legrad")
    assert explain(model, image, "transformer_attribution").evidence.max() > 0


def test_settings() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        LeGrad(0)
