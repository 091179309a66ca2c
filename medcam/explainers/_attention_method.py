"""What methods that look at attention have in common: the matrices of all blocks, and patches put where they lie."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from medcam.explainers._blocks import Blocks, blocks_of, tokens_read
from medcam.explainers._capture import Tap
from medcam.explainers._trace import Trace
from medcam.explainers.base import Located, Method, View

HALF_SCALE = 1024.0
"""Gradients of attention are so small that float16 would round them to zero."""


class AttentionMethod(Method):
    """A method that looks at the softmax matrices of attention, whatever layer is explained.

    Fused attention is written out while the model runs. Class tokens and registers are left out of the map.
    """

    unit = "arbitrary"
    signed = False
    family = "transformer"
    replays = False

    def taps(self, layer: Tap, trace: Trace) -> tuple[Tap, ...]:
        """Every attention matrix.

        Raises:
            ExplainError: "no-attention".
        """
        return blocks_of(trace).matrices

    def located(self, view: View) -> Located:
        blocks = blocks_of(view.trace)
        values, notes = self.told(view, blocks)
        evidence = blocks.evidence(values, len(view.capture.x))
        first, last = blocks.matrices[0], blocks.matrices[-1]
        said = f"{len(blocks.blocks)} attention matrices, {first.module} to {last.module}"
        return Located(evidence, blocks.alignment, (said, *notes), last)

    def told(self, view: View, blocks: Blocks) -> tuple[Tensor, tuple[str, ...]]:
        """The relevance, and what its reader must know."""
        return self.relevance(view, blocks), ()

    @abstractmethod
    def relevance(self, view: View, blocks: Blocks) -> Tensor:
        """(rows, K, n): of each token for each target."""


def read_row(view: View, blocks: Blocks) -> Tensor:
    """(n,) weights of the tokens that the head reads: the class token, or the mean of the patches."""
    read = tokens_read(view.capture.model, view.trace, blocks)
    count = view.capture.activation(blocks.matrices[-1]).shape[-1]
    before, after = blocks.extras
    patches = torch.zeros(count, dtype=torch.bool, device=view.capture.x.device)
    patches[before : count - after] = True
    if read is None:  # the usual: a class token comes first
        read = torch.arange(count, device=patches.device) == 0 if before else patches
    elif bool((read & patches).any()):
        read = read | patches
    return read.float() / read.sum()


def matrices(view: View, blocks: Blocks) -> list[Tensor]:
    """(rows, heads, n, n) of every block."""
    return [blocks.heads(view.capture.activation(tap), len(view.capture.x)) for tap in blocks.matrices]


def gradients(view: View, blocks: Blocks, scalars: Tensor, taps: tuple[Tap, ...]) -> list[Tensor]:
    """(rows, heads, n, n): of the sum of scalars, with respect to attention matrices."""
    half = view.capture.activation(taps[0]).dtype == torch.float16
    scale = HALF_SCALE if half else 1.0
    found = view.capture.gradients(scalars * scale, taps)
    return [blocks.heads(gradient, len(view.capture.x)) / scale for gradient in found]


def attribution(attention: Sequence[Tensor], gradient: Sequence[Tensor], read: Tensor) -> Tensor:
    """(rows, n): read (n,) times (I + A_L) ... (I + A_1) - I, each A the mean over heads of (A * dy/dA)+.

    The row is carried backwards, which is the same as the product and a token's number of times cheaper.
    """
    start = read.expand(len(attention[0]), 1, -1)  # (rows, 1, n)
    row = torch.zeros_like(start)  # without the identity, beside which small numbers would be rounded away
    for matrix, slope in zip(reversed(attention), reversed(gradient), strict=True):
        row = row + (start + row) @ (matrix * slope).clamp(min=0).mean(1)
    return row[:, 0]
