"""Score-CAM (Wang et al. 2020)."""

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._alignment import whole
from medcam.explainers._cost import Cost, Each
from medcam.explainers._fusion import moved
from medcam.explainers._kmeans import medoids, squared
from medcam.explainers._masking import Hidden, Of, check, masked, said, without
from medcam.explainers.base import Located, Method, View

FLAT = 1e-6
"""A channel whose values differ by no more than this share of their size is the same everywhere: its mask is zero."""


class ScoreCAM(Method):
    """Channels weighted by the softmax of the score that the image has when only what the channel shows is seen.

    A mask is the channel enlarged by exact alignment and stretched to [0, 1]. The softmax makes the map depend on the
    size of the logits: where they differ by much, a few channels are left. Of probabilities, as the authors' code has
    it, the weights are nearly equal, and the map says little about the class. (pytorch-grad-cam stretches the masks
    by corners and the map by half pixels; torch-cam subtracts the score of the whole image, which changes nothing.)

    With `groups` only one channel of each cluster of similar maps is asked, and every channel's score is the mean of
    those, weighted by exp(-d^2 / s^2) of the distance d between the maps, s^2 the mean squared distance to the
    nearest: as many forward passes as groups, whatever the number of channels. It is near the whole where similar
    channels have similar scores; where logits differ by much it may miss the few that decide.

    Args:
        groups: clusters of channels; None asks every channel, as the paper does.
        hidden: what hidden cells become: a number, "mean" or "blur". The paper multiplies, so that they become 0,
            which is the mean of its images; here by default each image's own mean.
        of: "logit" or "probability".

    Raises:
        UsageError: "bad-setting".

    Source: Wang et al., Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks, CVPR
    Workshops 2020, arXiv 1910.01279, definition 3 and equation 4.
    """

    name = "scorecam"
    paper = "Wang et al. 2020, arXiv 1910.01279"
    unit = "arbitrary"
    signed = False
    family = "perturbation"
    scales = False
    replays = False
    forwards: Cost = Each("channel", 2)
    tail_backwards = 0

    def __init__(self, groups: int | None = None, hidden: Hidden = "mean", of: Of = "logit") -> None:
        check(hidden, of)
        if groups is not None and groups < 1:
            raise UsageError("bad-setting", "Score-CAM needs one group of channels at least.")
        self.groups, self.hidden, self.of = groups, hidden, of
        if groups is not None:
            self.forwards = groups + 2

    def located(self, view: View) -> Located:
        """ReLU(sum_k w_k A_k), w = softmax over channels of y(x through mask k) - y(nothing seen)."""
        activation = view.arrangement.evidence(view.activation, len(view.capture.x))  # (B, C, *grid)
        nothing = without(view.capture.x, self.hidden)
        asked = [self._asked(channels) for channels in activation]
        total, done = sum(len(chosen) for chosen, _ in asked), 0
        maps = []
        for sample, (channels, (chosen, share)) in enumerate(zip(activation, asked, strict=True)):
            unseen = torch.zeros((1, *nothing.shape[2:]), device=nothing.device)
            base = masked(view, sample, nothing[sample], unseen, self.of)  # (1, K)
            rises = []
            for part in filter(len, chosen.split(view.budget)):
                masks = _stretched(moved(channels[None, part], view.alignment, whole(nothing.shape[2:]))[0])
                rises.append(masked(view, sample, nothing[sample], masks, self.of) - base)
                done += len(part)
                view.tick(done, total)
            rise = share @ torch.cat(rises) if rises else base.new_zeros(len(channels), base.shape[1])
            weight = torch.softmax(rise, dim=0)  # (C, K)
            maps.append(torch.einsum("c...,ck->k...", channels, weight).clamp(min=0))
        groups = (f"{max(len(chosen) for chosen, _ in asked)} of {activation.shape[1]} channels were asked",)
        notes = (said(self.hidden), *(groups if self.groups is not None else ()))
        return Located(torch.stack(maps), view.alignment, notes)

    def _asked(self, channels: Tensor) -> tuple[Tensor, Tensor]:
        """Of one sample's channels (C, *grid): which are asked (n,), and each one's share in every score (C, n)."""
        flat = channels.flatten(1)
        varies = flat.amax(1) - flat.amin(1) > FLAT * flat.abs().amax(1)
        usable = varies.nonzero()[:, 0]
        share = torch.eye(len(flat), device=flat.device)[:, usable]  # of a flat channel: none, its mask shows nothing
        if self.groups is None or len(usable) <= self.groups:
            return usable, share
        points = _stretched(flat[usable])
        middle = medoids(points, self.groups)
        distance = squared(points, points[middle])  # (usable, n)
        width = distance.amin(1).mean().clamp(min=1e-12)
        share = share.new_zeros(len(flat), len(middle))
        share[usable] = torch.softmax(-distance / width, dim=1)
        return usable[middle], share


def _stretched(maps: Tensor) -> Tensor:
    """Each map (n, ...) from 0 to 1."""
    flat = maps.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).clamp(min=1e-30)).reshape(maps.shape)
