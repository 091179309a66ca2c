"""Ablation-CAM (Desai and Ramaswamy 2020)."""

from dataclasses import replace

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._cost import Cost, Each
from medcam.explainers.base import Located, Method, View


class AblationCAM(Method):
    """Channels weighted by how far the score drops when they are set to zero; the sign is kept.

    Only the tail behind the layer runs again for each channel. The paper divides the drops by the score, which
    changes no map's form but turns it over where the score is negative and blows it up where it is nearly zero: by
    default nothing is divided, and with `relative` it is by the score's size. Zero should mean absent, so take a layer
    behind a ReLU. (pytorch-grad-cam puts -1e7 instead of zero where activations are negative, and runs the whole
    network again for every channel.) The map is a sum of drops times activations, in no unit.

    Args:
        channels: only so many channels of each image, those with the most energy (the sum of squares); the others
            weigh nothing.
        relative: divide by the size of the score.

    Raises:
        UsageError: "bad-setting".

    Source: Desai and Ramaswamy, Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization, WACV 2020, equations 4 and 5 (without the ReLU, which is left to the display).
    """

    name = "ablationcam"
    paper = "Desai and Ramaswamy 2020, WACV, doi 10.1109/WACV45572.2020.9093360"
    unit = "arbitrary"
    signed = True
    family = "perturbation"
    replays = False
    tail_forwards: Cost = Each("channel", 1)  # one shows that the tail can run alone
    tail_backwards = 0

    def __init__(self, channels: int | None = None, relative: bool = False) -> None:
        if channels is not None and channels < 1:
            raise UsageError("bad-setting", "Ablation-CAM needs one channel at least.")
        self.channels, self.relative = channels, relative
        if channels is not None:
            self.tail_forwards = channels + 1

    def located(self, view: View) -> Located:
        """sum_k (y - y with A_k = 0) A_k."""
        if view.capture.cut != view.tap:  # another method looks at an earlier layer: replays would begin there
            view = replace(view, capture=view.capture.behind(view.tap))
        batch = len(view.capture.x)
        activation = view.arrangement.evidence(view.activation, batch)  # (B, C, *grid)
        energy = activation.square().flatten(2).sum(2)  # (B, C)
        count = min(self.channels or energy.shape[1], energy.shape[1])
        chosen = torch.zeros_like(energy).scatter_(1, energy.topk(count, dim=1).indices, 1) * (energy > 0)
        scores = view.scalars.detach()
        drops = self._drops(view, chosen.bool(), scores)  # (B, C, K)
        notes = []
        if self.channels is not None and count < energy.shape[1]:
            kept = float(((energy * chosen).sum(1) / energy.sum(1).clamp(min=1e-30)).min())
            notes.append(f"{count} of {energy.shape[1]} channels, with {100 * kept:.0f} % of the energy at least")
        if self.relative:
            drops = torch.where(scores[:, None] == 0, 0, drops / scores.abs()[:, None])
            if bool((scores == 0).any()):
                notes.append("a score is exactly zero: there is no drop relative to it")
        evidence = torch.einsum("bc...,bck->bk...", activation, drops)
        return Located(evidence, view.alignment, tuple(notes))

    def _drops(self, view: View, chosen: Tensor, scores: Tensor) -> Tensor:
        """(B, C, K): how far each score drops without each of the chosen channels (B, C); 0 for the others."""
        capture = view.capture
        seen, channel = capture.activation(view.tap), _channel(view)
        drops = scores.new_zeros(*chosen.shape, scores.shape[1])
        done, total = 0, int(chosen.sum())
        if not capture.batch_first:  # frames come before samples: all samples run, one channel at a time
            everyone = torch.arange(len(chosen), device=seen.device)
            for index in chosen.any(dim=0).nonzero()[:, 0].tolist():
                output = view.targets.of(capture.tail(seen.masked_fill(channel == index, 0)), everyone).detach()
                drops[:, index] = (scores - output) * chosen[:, index, None]
                done += int(chosen[:, index].sum())
                view.tick(done, total)
            return drops
        rows = capture.rows_per_sample
        for sample, which in enumerate(chosen):
            mine, places = (each[sample * rows : (sample + 1) * rows] for each in (seen, channel))
            for part in filter(len, which.nonzero()[:, 0].split(view.budget)):
                without = torch.cat([mine.masked_fill(places == index, 0) for index in part])
                output = view.tail_scores(without, torch.full((len(part),), sample, device=seen.device))
                drops[sample, part] = scores[sample] - output
                done += len(part)
                view.tick(done, total)
        return drops


def _channel(view: View) -> Tensor:
    """Shaped as the layer gives its activation: the channel of each number; -1 where it belongs to no cell."""
    seen = view.capture.activation(view.tap)
    index = view.rows(torch.arange(seen.numel(), device=seen.device).reshape(seen.shape))  # (rows, C, *s)
    channel = torch.arange(index.shape[1], device=seen.device).reshape(1, -1, *[1] * (index.ndim - 2))
    flat = torch.full((seen.numel(),), -1, device=seen.device)
    flat[index.flatten()] = channel.expand_as(index).flatten()
    return flat.reshape(seen.shape)
