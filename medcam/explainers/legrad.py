"""LeGrad (Bousselham et al. 2025)."""

import torch
from torch import Tensor

from medcam.errors import ExplainError, UsageError
from medcam.explainers._attention_method import AttentionMethod, gradients
from medcam.explainers._blocks import Blocks, blocks_of
from medcam.explainers._capture import Tap
from medcam.explainers._cost import Cost, Each
from medcam.explainers._trace import Trace
from medcam.explainers.base import View


class LeGrad(AttentionMethod):
    """How the score of each block's own tokens, read by the model's own head, would rise with attention to each patch.

    For every block the mean of its tokens goes through whatever follows the last block (a last normalisation, the
    head); the positive gradient of that score with respect to the block's attention is averaged over heads and
    queries. The map is the mean over blocks. Averaging keeps the bright dots of outlier tokens down.

    Args:
        last: how many blocks are looked at, counted from the last one; None for all. (The authors' code has 2.)

    Source: Bousselham et al., LeGrad: An Explainability Method for Vision Transformers via Feature Formation
    Sensitivity, ICCV 2025, arXiv 2404.03214.

    Raises:
        UsageError: "bad-setting".
    """

    name = "legrad"
    paper = "Bousselham et al. 2025, arXiv 2404.03214"
    tail_forwards: Cost = Each("block", 1)  # one shows that the head can run alone
    tail_backwards: Cost = Each("block")

    def __init__(self, last: int | None = None) -> None:
        if last is not None and last < 1:
            raise UsageError("bad-setting", f"LeGrad looks at one block at least, not {last}.")
        self.last = last
        if last is not None:
            self.tail_forwards, self.tail_backwards = last + 1, last

    def taps(self, layer: Tap, trace: Trace) -> tuple[Tap, ...]:
        """Matrices and outputs of the blocks.

        Raises:
            ExplainError: "no-attention", also where no module gives the tokens of a block.
        """
        return tuple(tap for pair in self._chosen(blocks_of(trace)) for tap in pair)

    def relevance(self, view: View, blocks: Blocks) -> Tensor:
        pairs = self._chosen(blocks)
        head = view.capture.behind(pairs[-1][1])
        samples = torch.arange(len(view.capture.x), device=view.capture.x.device)
        total: Tensor | float = 0.0
        for matrix, output in pairs:
            tokens = view.capture.recorded(output)  # (rows, n, C)
            same = tokens.mean(1, keepdim=True).expand_as(tokens)  # whichever token the head reads, it reads the mean
            scores = view.targets.of(head.replay(same, samples=samples).output, samples)  # (B, K)
            slopes = [gradients(view, blocks, score, (matrix,))[0] for score in scores.unbind(1)]
            total = total + torch.stack([slope.clamp(min=0).mean((1, 2)) for slope in slopes], dim=1)  # (rows, K, n)
        assert isinstance(total, Tensor)
        return total / len(pairs)

    def _chosen(self, blocks: Blocks) -> list[tuple[Tap, Tap]]:
        chosen = blocks.blocks if self.last is None else blocks.blocks[-self.last :]
        pairs = [(block.matrix, block.output) for block in chosen if block.output is not None]
        if len(pairs) < len(chosen):
            raise ExplainError(
                "no-attention",
                "LeGrad needs a module for each block of the transformer, and here there is none; "
                "use transformer_attribution or attention_rollout.",
            )
        return pairs
