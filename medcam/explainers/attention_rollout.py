"""Attention rollout (Abnar & Zuidema 2020)."""

from collections.abc import Sequence

from torch import Tensor

from medcam.explainers._attention_method import AttentionMethod, matrices, read_row
from medcam.explainers._blocks import Blocks
from medcam.explainers.base import View


class AttentionRollout(AttentionMethod):
    """How much of each patch has flowed, by attention alone, into what the head reads. The same for every target.

    Attention is averaged over the heads, half of it is what a token keeps of itself, and the blocks are multiplied.
    Read at the class token, or averaged over the patches, whichever the head reads; a row sums to one over all tokens.
    (vit-explain normalises along the wrong axis, so that its rows do not.)

    Source: Abnar & Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, arXiv 2005.00928, equation 1.
    """

    name = "attention_rollout"
    paper = "Abnar & Zuidema 2020, arXiv 2005.00928"
    class_specific = False
    tail_forwards = tail_backwards = 1  # behind the last block, to see which tokens the head reads

    def relevance(self, view: View, blocks: Blocks) -> Tensor:
        rolled = rollout(matrices(view, blocks), read_row(view, blocks))
        return rolled[:, None].repeat(1, view.scalars.shape[1], 1)


def rollout(attention: Sequence[Tensor], read: Tensor) -> Tensor:
    """(rows, n): read (n,) times A_L ... A_1, each the row-normalised mean over heads of (rows, heads, n, n) plus I."""
    row = read.expand(len(attention[0]), 1, -1)  # (rows, 1, n)
    for matrix in reversed(attention):
        mean = matrix.mean(1)
        total = 1 + mean.sum(-1)  # of each row of the matrix plus I
        row = row / total[:, None]
        row = row + row @ mean
    return row[:, 0]
