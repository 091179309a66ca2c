"""Outlier tokens: a few patches, often of the background, that a transformer uses as registers.

Their norms are many times those of the rest, and they show as bright dots in maps without any finding there (Darcet et
al., Vision Transformers Need Registers, 2024; Sun et al., Massive Activations, 2024). Whether a network has them
depends on its training, so every image is looked at.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medcam.explainers._blocks import Blocks
from medcam.explainers._capture import Tap, tapped

SPREADS, TIMES = 6.0, 3.0
"""An outlying norm is so many standard deviations (1.4826 median deviations) above the median, and so many times it."""
NAMED = 20
"""Most cells that are named in a sentence."""


@dataclass(frozen=True)
class Outliers:
    """Cells (B, *grid) of outlier tokens, and a sentence for each sample, "" where it has none."""

    cells: Tensor
    said: tuple[str, ...]


@contextmanager
def watched(model: nn.Module, blocks: Blocks | None) -> Iterator[dict[Tap, Tensor]]:
    """Within, the tokens (rows, n, C) that blocks in the middle and at the end give are remembered, without a graph."""
    seen: dict[Tap, Tensor] = {}
    if blocks is None:
        yield seen
        return
    count = len(blocks.blocks)
    chosen = {max(at, 0) for at in (count // 2 - 1, count - 3, count - 2, count - 1)}
    taps = [tap for at in sorted(chosen) if (tap := blocks.blocks[at].output) is not None]

    def take(tap: Tap, tensor: Tensor) -> Tensor:
        seen[tap] = tensor.detach()
        return tensor

    with tapped(model, taps, take):
        yield seen


def outlying(norms: Tensor) -> Tensor:
    """(rows, P) norms to truth values: far above the median of their row."""
    middle = norms.median(1, keepdim=True).values
    deviation = 1.4826 * (norms - middle).abs().median(1, keepdim=True).values
    return (norms > middle + SPREADS * deviation) & (norms > TIMES * middle)


def outliers(blocks: Blocks | None, seen: dict[Tap, Tensor], batch: int) -> Outliers | None:
    """What was watched, looked through; None where there are no patches."""
    if blocks is None or not seen:
        return None
    cells: Tensor | None = None
    told: list[list[str]] = [[] for _ in range(batch)]
    for tap, tokens in seen.items():
        sizes = tokens.float().abs()  # (rows, n, C)
        facts = torch.stack([sizes.norm(dim=2), sizes.amax(2), sizes.median(2).values], dim=1)
        norms, tops, middles = blocks.evidence(facts, batch).unbind(1)  # each (B, *grid)
        here = outlying(norms.flatten(1)).reshape(norms.shape)
        cells = here if cells is None else cells | here
        for sample in here.flatten(1).any(1).nonzero().flatten().tolist():
            share = float(norms[sample][here[sample]].sum() / norms[sample].sum())
            peak = float(tops[sample].max() / middles[sample].median().clamp(min=1e-12))
            told[sample].append(
                f"{tap.module} ({int(here[sample].sum())} with {share:.0%} of all norms, "
                f"one activation {peak:.0f} times the median)"
            )
    assert cells is not None
    return Outliers(cells, tuple(map(_said, cells, told)))


def _said(cells: Tensor, told: Sequence[str]) -> str:
    if not told:
        return ""
    return f"tokens with outlying norms at {', '.join(told)}: {named(cells)} may be bright without a finding"


def named(cells: Tensor) -> str:
    """Cells (*grid) that are true, in words."""
    places = [tuple(place) for place in cells.nonzero().tolist()]
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f"cell{'s' if len(places) > 1 else ''} {', '.join(map(str, places[:NAMED]))}{more}"


def repaired(evidence: Tensor, cells: Tensor) -> Tensor:
    """Evidence (B, K, *grid) with each of the cells (B, *grid) replaced by the median of its sound neighbours."""
    fixed = evidence.clone()
    for sample, *place in cells.nonzero().tolist():
        for reach in range(1, max(cells.shape[1:]) + 1):
            window = tuple(slice(max(at - reach, 0), at + reach + 1) for at in place)
            sound = ~cells[(sample, *window)]
            if bool(sound.any()):
                around = evidence[(sample, slice(None), *window)][:, sound]  # (K, neighbours)
                fixed[(sample, slice(None), *place)] = around.quantile(0.5, dim=1)
                break
    return fixed
