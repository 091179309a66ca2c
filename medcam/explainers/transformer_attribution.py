"""Transformer attribution (Chefer et al., ICCV 2021)."""

import torch
from torch import Tensor

from medcam.explainers._attention_method import AttentionMethod, attribution, gradients, matrices, read_row
from medcam.explainers._blocks import Blocks
from medcam.explainers.base import View


class TransformerAttribution(AttentionMethod):
    """Attention that raises the target's score, followed through the blocks.

    The generic rule of the second paper, R <- R + E_h[(A * dy/dA)+] R from R = I, for encoders that attend to
    themselves. The first paper (Transformer Interpretability Beyond Attention Visualization, CVPR 2021) puts relevance
    by LRP in the place of A: transformer_lrp.

    What a token is to itself (the identity) is left out, so that without gradient the map is zero.

    Source: Chefer et al., Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers, ICCV 2021, arXiv 2103.15679, equations 5 and 6.
    """

    name = "transformer_attribution"
    paper = "Chefer et al. 2021, arXiv 2103.15679"
    scales = False
    tail_forwards, tail_backwards = 1, 2  # one of each behind the last block, to see which tokens the head reads

    def relevance(self, view: View, blocks: Blocks) -> Tensor:
        attention, read = matrices(view, blocks), read_row(view, blocks)
        maps = []
        for target in range(view.scalars.shape[1]):
            slopes = gradients(view, blocks, view.scalars[:, target], blocks.matrices)
            maps.append(attribution(attention, slopes, read))
        return torch.stack(maps, dim=1)
