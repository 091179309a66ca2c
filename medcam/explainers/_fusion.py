"""Maps of several layers put together on the finest one's cells."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._alignment import Alignment, align
from medcam.explainers._capture import Tap
from medcam.explainers._cost import again, more
from medcam.explainers._trace import Trace
from medcam.explainers.base import InputMethod, Located, Method, View

Fuse = Literal["max", "mean", "product"]


class Fused(Method):
    """Another method at several layers, from one forward pass.

    Each layer's map is first divided by its own greatest size, since layers have no scale in common; what comes out is
    in no unit. Every map is moved to the cells of the finest layer by its own exact place.

    Args:
        by: the method.
        taps: the layers.
        fuse: "max", "mean" or "product" of the layers' maps; for "max" maps go through tanh(2 M / max M) first, as
            LayerCAM's paper does (Jiang et al. 2021, equation 9), "product" (NormGrad, Rebuffi et al. 2020) is cold
            wherever one layer is cold.
    """

    unit = "arbitrary"

    def __init__(self, by: Method, taps: Sequence[Tap], fuse: Fuse = "max") -> None:
        if fuse not in get_args(Fuse) or isinstance(by, InputMethod):
            raise UsageError("bad-setting", f"Maps of layers are fused by {', '.join(get_args(Fuse))}, not {fuse!r}.")
        self.by, self.layers, self.fuse = by, tuple(dict.fromkeys(taps)), fuse
        self.name, self.paper = by.name, by.paper
        self.signed, self.class_specific = by.signed and fuse != "product", by.class_specific
        self.family, self.replays = by.family, by.replays
        layers = len(self.layers)
        self.forwards = more(again(more(by.forwards, -1), layers), 1)  # the captured one serves all
        self.tail_forwards, self.tail_backwards = again(by.tail_forwards, layers), again(by.tail_backwards, layers)

    def taps(self, layer: Tap, trace: Trace) -> tuple[Tap, ...]:
        return tuple(dict.fromkeys(tap for own in self.layers for tap in self.by.taps(own, trace)))

    def located(self, view: View) -> Located:
        parts = [self.by.located(self._at(view, tap)) for tap in self.layers]
        finest = min((part.alignment for part in parts), key=lambda place: place.stride)
        maps = [_scaled(moved(part.evidence, part.alignment, finest)) for part in parts]
        stacked = torch.stack(maps)
        if self.fuse == "max":
            squashed = torch.tanh(2 * stacked)
            strongest = squashed.abs().argmax(dim=0, keepdim=True)
            fused = squashed.gather(0, strongest)[0]
        else:
            fused = stacked.mean(dim=0) if self.fuse == "mean" else stacked.clamp(min=0).prod(dim=0)
        said = f"{self.fuse} of {len(self.layers)} layers: {', '.join(map(str, self.layers))}"
        return Located(fused, finest, (said, *dict.fromkeys(note for part in parts for note in part.notes)))

    @staticmethod
    def _at(view: View, tap: Tap) -> View:
        model, x = view.capture.model, view.capture.x
        arrangement, alignment = align(model, x, view.trace.call(tap.module, tap.call), tap.role)
        return View(view.capture, tap, view.targets, arrangement, alignment, view.trace, view.budget, view.tick)


def moved(evidence: Tensor, source: Alignment, target: Alignment) -> Tensor:
    """Evidence (B, K, *grid) on other cells of the same input, by linear interpolation; its border goes on outside."""
    for axis in range(len(target.shape)):
        size = source.shape[axis]
        at = target.offset[axis] + target.stride[axis] * torch.arange(target.shape[axis], dtype=torch.float64)
        index = ((at - source.offset[axis]) / source.stride[axis]).clamp(0, size - 1).to(evidence.device)
        low = index.floor().clamp(max=max(size - 2, 0)).long()
        part = (index - low).to(evidence.dtype).reshape(-1, *[1] * (len(target.shape) - 1 - axis))
        high = evidence.index_select(axis + 2, (low + 1).clamp(max=size - 1))
        evidence = torch.lerp(evidence.index_select(axis + 2, low), high, part)
    return evidence


def _scaled(maps: Tensor) -> Tensor:
    """Each sample's maps of all targets divided by the greatest size among them, so that targets stay comparable."""
    top = maps.abs().flatten(1).amax(1).reshape(-1, *[1] * (maps.ndim - 1))
    return maps / torch.where(top > 0, top, 1)
