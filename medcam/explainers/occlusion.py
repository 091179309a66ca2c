"""Occlusion (Zeiler and Fergus 2014)."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._alignment import Alignment
from medcam.explainers._cost import Each
from medcam.explainers._masking import Hidden, check, masked, said, without
from medcam.explainers.base import InputMethod, Located, View

SHARES = {2: 8, 3: 4}
"""By number of axes: into how many parts a window divides each axis, if not told."""

Sizes = int | Sequence[int] | None


class Occlusion(InputMethod):
    """How far the score drops when a window of the image is hidden; each number stands at its window's centre.

    Windows cover every cell; where they do not fit, those at both ends reach over the border by the same amount, and
    hide less. On other grids numbers are interpolated between the windows' centres. (captum spreads each drop over its
    window and takes the mean of those that overlap, which blurs. MONAI returns the score that is left, so that low
    means important, and takes a sigmoid or softmax by the number of input channels.)

    Args:
        window: cells along each axis, one number or one for each; by default 1/8 of each axis of an image, 1/4 of
            each axis of a volume or clip.
        stride: likewise; by default half a window.
        hidden: what hidden cells become: a number, "mean" (of each channel of the image) or "blur".

    Raises:
        UsageError: "bad-setting".

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, arXiv 1311.2901,
    section 4.2 (a grey square).
    """

    name = "occlusion"
    paper = "Zeiler and Fergus 2014, arXiv 1311.2901"
    unit = "score drop"
    signed = True
    family = "perturbation"
    forwards = Each("window", 1)  # by default 225 on a plane, 343 in a volume
    tail_backwards = 0

    def __init__(self, window: Sizes = None, stride: Sizes = None, hidden: Hidden = "mean") -> None:
        check(hidden)
        given = [size for sizes in (window, stride) if sizes is not None for size in _listed(sizes, 1)]
        if any(size < 1 for size in given):
            raise UsageError("bad-setting", "Windows and strides of an occlusion have one cell at least.")
        self.window, self.stride, self.hidden = window, stride, hidden

    def located(self, view: View) -> Located:
        """Y - y(window hidden), one number for each window."""
        place, window, starts = self._windows(view.capture.x.shape[2:])
        notes = said(self.hidden), f"windows of {' x '.join(map(str, window))} cells"
        return Located(self._drops(view, place, window, starts), place, notes)

    def maps(self, view: View) -> Tensor:
        return self.located(view).evidence

    def _windows(self, space: Sequence[int]) -> tuple[Alignment, list[int], list[list[int]]]:
        """Where the drops lie, how large windows are, and where they start along each axis."""
        axes = len(space)
        window = _listed(self.window, axes) if self.window is not None else [size // SHARES[axes] for size in space]
        stride = _listed(self.stride, axes) if self.stride is not None else [size // 2 for size in window]
        if len(window) != axes or len(stride) != axes:
            raise UsageError("bad-setting", f"Windows and strides are one number, or one for each of {axes} axes.")
        if any(step > max(size, 1) for step, size in zip(stride, window, strict=True)):
            raise UsageError("bad-setting", "A stride longer than its window leaves cells that are never hidden.")
        window = [min(max(size, 1), length) for size, length in zip(window, space, strict=True)]
        stride = [min(max(step, 1), size) for step, size in zip(stride, window, strict=True)]
        starts = []
        for length, size, step in zip(space, window, stride, strict=True):
            steps = math.ceil((length - size) / step)
            over = steps * step + size - length
            starts.append([index * step - over // 2 for index in range(steps + 1)])
        offset = tuple(start[0] + (size - 1) / 2 for start, size in zip(starts, window, strict=True))
        shape = tuple(len(start) for start in starts)
        return Alignment(shape, tuple(float(step) for step in stride), offset, "composed"), window, starts

    def _drops(self, view: View, place: Alignment, window: list[int], starts: list[list[int]]) -> Tensor:
        x = view.capture.x
        nothing = without(x, self.hidden)
        left: list[Tensor] = []
        done, total = 0, math.prod(place.shape)
        for corners in _parts(list(product(*starts)), view.budget):
            masks = torch.ones((len(corners), *x.shape[2:]), device=x.device)
            for mask, corner in zip(masks, corners, strict=True):
                mask[tuple(slice(max(at, 0), at + size) for at, size in zip(corner, window, strict=True))] = 0
            left.append(torch.stack([masked(view, sample, nothing[sample], masks) for sample in range(len(x))]))
            done += len(corners)
            view.tick(done, total)
        drops = view.scalars.detach()[:, None] - torch.cat(left, dim=1)  # (B, windows, K)
        return drops.transpose(1, 2).reshape(*view.scalars.shape, *place.shape)


def _listed(sizes: int | Sequence[int], axes: int) -> list[int]:
    return [sizes] * axes if isinstance(sizes, int) else list(sizes)


def _parts(corners: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    for start in range(0, len(corners), size):
        yield corners[start : start + size]
