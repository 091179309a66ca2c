"""Attention rollout against products of whole matrices."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers.attention_rollout import rollout
from tests.explainers.transformers import Tokens, seen


def slow(attention: list[Tensor]) -> Tensor:
    """(n, n) of one image: the product of the row-normalised (A + I), in loops."""
    total = torch.eye(attention[0].shape[-1])
    for matrix in attention:
        mean = matrix[0].mean(0)
        step = torch.empty_like(mean)
        for row in range(len(mean)):
            with_itself = mean[row].clone()
            with_itself[row] += 1
            step[row] = with_itself / with_itself.sum()
        total = step @ total
    return total


def random_attention(depth: int = 4, tokens: int = 7) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, 3, tokens, tokens).softmax(-1) for _ in range(depth)]


def whole(attention: list[Tensor]) -> Tensor:
    """The whole matrix, row by row."""
    return torch.cat([rollout(attention, row) for row in torch.eye(attention[0].shape[-1])])


def test_rows_are_those_of_the_product_and_sum_to_one() -> None:
    attention = random_attention()
    torch.testing.assert_close(whole(attention), slow(attention))
    torch.testing.assert_close(whole(attention).sum(1), torch.ones(7))


def test_tokens_that_look_at_themselves_stay_where_they_are() -> None:
    torch.testing.assert_close(whole([torch.eye(7).expand(1, 3, 7, 7)] * 4), torch.eye(7))


def test_attention_whose_rows_do_not_sum_to_one_is_normalised() -> None:
    attention = [3 * matrix for matrix in random_attention()]
    torch.testing.assert_close(whole(attention).sum(1), torch.ones(7))
    torch.testing.assert_close(whole(attention), slow(attention))


@pytest.mark.parametrize(("axes", "space"), [(2, (16, 24)), (3, (8, 12, 16))])
@pytest.mark.parametrize(("extras", "reads"), [(1, "first"), (0, "all"), (3, "patches"), (2, "all")])
def test_read_where_the_head_reads(axes: int, space: tuple[int, ...], extras: int, reads: str) -> None:
    model = Tokens(axes, extras, reads, space=space).eval()
    image = torch.randn(1, 1, *space)
    matrices, _, _ = seen(model, image, 0)
    total = slow([matrix.detach() for matrix in matrices])
    row = total[0] if reads == "first" else total[extras if reads == "patches" else 0 :].mean(0)
    explained = explain(model, image, "attention_rollout", "all")
    wanted = row[extras:].reshape([size // 4 for size in space])
    for target in range(3):
        torch.testing.assert_close(explained.evidence[0, target], wanted, rtol=1e-4, atol=1e-7)
    assert explained.alignment.stride == (4,) * axes
    assert explained.alignment.offset == (1.5,) * axes
    assert (explained.unit, explained.class_specific) == ("arbitrary", False)
    assert explained.layer == "attention of blocks.2.attn"


def test_a_head_that_says_nothing_changes_nothing() -> None:
    """Attention is what it is, whatever the head makes of it; a class token is then read as usual."""
    model, image = Tokens().eval(), torch.randn(1, 1, 16, 24)
    before = explain(model, image, "attention_rollout").evidence
    nn.init.zeros_(model.fc.weight)
    torch.testing.assert_close(explain(model, image, "attention_rollout").evidence, before)
