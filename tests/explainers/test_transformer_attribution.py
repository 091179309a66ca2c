"""Transformer attribution against the recursion of the paper, and a single block by finite differences."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers.transformer_attribution import attribution
from tests.explainers.transformers import Tokens, seen


def slow(attention: list[Tensor], gradient: list[Tensor]) -> Tensor:
    """(n, n) of one image: R <- R + mean_h (A * g)+ R from the identity, first block to last."""
    total = torch.eye(attention[0].shape[-1])
    for matrix, slope in zip(attention, gradient, strict=True):
        heads = [(a * g).clamp(min=0) for a, g in zip(matrix[0], slope[0], strict=True)]
        total = total + sum(heads) / len(heads) @ total
    return total


@pytest.mark.parametrize(("axes", "space"), [(2, (16, 24)), (3, (8, 12, 16))])
@pytest.mark.parametrize(("extras", "reads"), [(1, "first"), (0, "all"), (3, "patches"), (2, "all")])
def test_the_papers_recursion(axes: int, space: tuple[int, ...], extras: int, reads: str) -> None:
    model = Tokens(axes, extras, reads, space=space).eval()
    images = torch.randn(2, 1, *space)
    explained = explain(model, images, "transformer_attribution", "all")
    for sample in range(2):
        for target in range(3):
            matrices, gradients, _ = seen(model, images[sample : sample + 1], target)
            total = slow([matrix.detach() for matrix in matrices], gradients)
            total = total - torch.eye(len(total))
            row = total[0] if reads == "first" else total[extras if reads == "patches" else 0 :].mean(0)
            wanted = row[extras:].reshape([size // 4 for size in space])
            found = explained.evidence[sample, target]
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))
    assert explained.evidence.min() >= 0


def test_without_gradient_the_map_is_zero_and_flagged() -> None:
    model = Tokens().eval()
    nn.init.zeros_(model.fc.weight)
    explained = explain(model, torch.randn(1, 1, 16, 24), "transformer_attribution", 1)
    assert explained.evidence.abs().max() == 0
    assert "empty" in explained.flags[0, 0][0]


def test_one_linear_block_by_finite_differences() -> None:
    """y = w . (A V)[0]: one head, one block; the slope of y in each entry of A is measured, not differentiated."""
    torch.manual_seed(0)
    values, weight = torch.randn(6, 4).double(), torch.randn(4).double()
    matrix = torch.randn(6, 6).double().softmax(-1)

    def score(matrix: Tensor) -> Tensor:
        return (matrix @ values)[0] @ weight

    slope = torch.zeros(6, 6).double()
    for row in range(6):
        for column in range(6):
            moved = matrix.clone()
            moved[row, column] += 1e-4
            slope[row, column] = (score(moved) - score(matrix)) / 1e-4
    read = torch.eye(6)[0].double()
    found = attribution([matrix[None, None]], [slope[None, None]], read)[0]
    by_hand = torch.stack([(matrix[0, j] * (values[j] @ weight)).clamp(min=0) for j in range(6)])
    torch.testing.assert_close(found, by_hand, rtol=1e-5, atol=1e-9)


def test_the_first_of_two_blocks_is_followed_through_the_second() -> None:
    """By hand: R = (I + B)(I + A) - I = A + B + B A, where all slopes are one."""
    first, second = torch.rand(1, 1, 3, 3), torch.rand(1, 1, 3, 3)
    ones = torch.ones(1, 1, 3, 3)
    found = torch.cat([attribution([first, second], [ones, ones], row) for row in torch.eye(3)])
    a, b = first[0, 0], second[0, 0]
    torch.testing.assert_close(found, a + b + b @ a)
