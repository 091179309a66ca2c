"""The blocks of a transformer, found in its trace: attention matrices among all tokens, and which tokens are read."""

from dataclasses import dataclass

from torch import Tensor, nn

from medcam.errors import ExplainError
from medcam.explainers._alignment import Alignment, of_axes
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._capture import Tap
from medcam.explainers._layout import Dim, Layout, plain, spread
from medcam.explainers._tail import slope
from medcam.explainers._trace import Softmax, Trace

USE = "use gradcam, hirescam or layercam"


@dataclass(frozen=True)
class Block:
    """One attention among all tokens: where its matrix is seen, and what its block gives, tokens (rows, n, C)."""

    matrix: Tap
    output: Tap | None
    """None where no module gives the tokens of this block alone."""
    softmax: Softmax


@dataclass(frozen=True)
class Blocks:
    """All blocks, first to last, with the place of their tokens."""

    blocks: tuple[Block, ...]
    rows: Dim
    tokens: Dim
    space: tuple[int, ...]
    """Of the model's input."""

    @property
    def matrices(self) -> tuple[Tap, ...]:
        """Where the attention matrices are seen."""
        return tuple(block.matrix for block in self.blocks)

    @property
    def extras(self) -> tuple[int, int]:
        """How many tokens without a place (class token, registers) come before the patches, and after them."""
        return self._arrangement(1).extras

    @property
    def alignment(self) -> Alignment:
        """Of the patches."""
        return of_axes(self._arrangement(1).axis_of, self.space, "composed")

    def _arrangement(self, maps: int) -> Arrangement:
        return Arrangement((self.rows, plain(maps), self.tokens), len(self.space))

    def evidence(self, values: Tensor, batch: int) -> Tensor:
        """Values of tokens (rows, K, n) to evidence (B, K, *grid) of the patches."""
        arrangement = self._arrangement(values.shape[1])
        return arrangement.evidence(arrangement.rows(values), batch)

    def heads(self, matrix: Tensor, batch: int) -> Tensor:
        """A matrix or its gradient, as it was seen, to (rows, heads, n, n) in float32."""
        rows = batch * self._arrangement(1).rows_per_sample
        return matrix.reshape(rows, -1, *matrix.shape[-2:]).float()


def blocks_of(trace: Trace) -> Blocks:
    """The blocks of the model that was traced.

    Raises:
        ExplainError: "no-attention", there are none, or none whose tokens are patches of the whole image.
    """
    seen = [(softmax, softmax.layout) for softmax in trace.softmaxes if softmax.layout is not None]
    whole = [(softmax, layout) for softmax, layout in seen if _global(layout)]
    windows = any(axis.within for _, layout in seen for axis in spread(layout[-1]))
    if windows or not whole:
        why = "its attention runs in windows" if windows else "it has no attention among all patches that can be placed"
        raise ExplainError("no-attention", f"No map of attention can be had of this model: {why}; {USE}.")
    layout = whole[-1][1]
    rows, tokens = _rows(layout), layout[-1]
    chosen = [softmax for softmax, other in whole if (_rows(other), other[-1]) == (rows, tokens)]
    found = (Block(_tap(softmax), _output(trace, softmax, chosen, rows, tokens), softmax) for softmax in chosen)
    return Blocks(tuple(found), rows, tokens, trace.input_shape[2:])


def _tap(softmax: Softmax) -> Tap:
    return Tap(softmax.inside[-1][0], softmax.index, "attention")


def _rows(layout: Layout) -> Dim:
    """What attends on its own: samples and frames; what remains are heads."""
    return tuple(part for dim in layout[:-2] for part in dim if part.source is not None)


def _global(layout: Layout) -> bool:
    """Whether this is a matrix (rows, heads, n, n) among the patches of whole images."""
    if len(layout) < 3 or layout[-1] != layout[-2]:
        return False
    lead = [part.source is not None for dim in layout[:-2] for part in dim]
    return lead == sorted(lead, reverse=True) and Arrangement((_rows(layout), plain(1), layout[-1]), 3).valid


def _output(trace: Trace, softmax: Softmax, among: list[Softmax], rows: Dim, tokens: Dim) -> Tap | None:
    """The outermost call that holds no other attention and gives tokens; of a single block, the one around attention.

    What follows the last block (a last normalisation, the head) is then not part of it.
    """
    others = {call for other in among if other is not softmax for call in other.inside}
    alone = [Tap(name, index) for name, index in softmax.inside if name and (name, index) not in others]
    giving = []
    for tap in alone:
        layout = trace.call(tap.module, tap.call).layout
        if layout is not None and len(layout) == 3 and layout[:2] == (rows, tokens):
            giving.append(tap)
    if len(among) == 1:
        giving = giving[-2:]
    return giving[0] if giving else None


def tokens_read(model: nn.Module, trace: Trace, blocks: Blocks) -> Tensor | None:
    """(n,) which tokens the output depends on behind the last block; None where that cannot be told.

    The tail behind the block is run from noise and differentiated. A class token alone, or all patches: it is a fact
    about the network, not about an image.
    """
    last = blocks.blocks[-1].output
    if last is None:
        return None
    found = slope(model, trace, trace.call(last.module, last.call))
    if found is None:
        return None
    read = found[1].abs().sum((0, 2)) > 0
    return read if bool(read.any()) else None
