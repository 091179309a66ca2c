"""Eight small changes of the image that a reader would not mind (Wang et al. 2019, test-time augmentation).

What spreads is "augmentation variability": the model's fragility and the image's ambiguity together, no posterior.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medcam.explainers import Explained, explain
from medcam.grid import Grid
from medcam.uncertainty.base import Disturbance, Member, whole_output

SHIFT = 0.04
"""Of the image's height and width, rounded to whole cells of the map where that is possible."""
ZOOM = 1.05
GAIN = 0.05
"""Of the image's standard deviation, added to or taken from its contrast."""
NOISE = 0.05
"""Of the image's standard deviation."""


@dataclass(frozen=True)
class Change:
    """Index j of the changed image shows index `place + j / zoom` of the original, in rows and columns."""

    name: str
    rows: int = 0
    columns: int = 0
    zoom: float = 1.0
    gain: float = 0.0
    noise: float = 0.0


CHANGES = (
    Change("shifted right", columns=1),
    Change("shifted left", columns=-1),
    Change("contrast up", gain=GAIN),
    Change("noise", noise=NOISE),
    Change("zoomed in", zoom=ZOOM),
    Change("shifted down", rows=1),
    Change("shifted up", rows=-1),
    Change("contrast down", gain=-GAIN),
)
"""No mirroring: which side is which is part of the finding. Fewer passes take the first ones."""


class Augmentation(Disturbance):
    """Shifts, zoom, contrast and noise; each changed image has its own Grid, so its evidence comes back exactly."""

    name = "augmentation"

    def __init__(self, passes: int = len(CHANGES)) -> None:
        super().__init__(min(passes, len(CHANGES)))

    def members(self, model: nn.Module, explained: Explained, target: int, seed: int) -> Iterator[Member]:
        """One batched forward pass for each change."""
        x = explained.images
        cells = explained.alignment.stride[-2:]
        for change in CHANGES[: self.passes]:
            start, step = _places(change, x.shape[-2:], cells)
            changed = _disturbed(_moved(x, start, step), change, seed)
            grids = [_grid(grid, start, step) for grid in explained.input_grids]
            result = explain(
                model,
                changed,
                explained.by,
                targets=explained.targets.again,
                layer=explained.tap,
                head=explained.targets.head,
                grids=grids,
            )
            evidence = result.evidence[:, target].float().cpu().numpy()
            yield Member(
                change.name,
                result.scores[:, target],
                evidence,
                result.grids,
                result.input_grids,
                whole_output(result.output),
            )


def _places(
    change: Change, size: tuple[int, ...] | torch.Size, cells: tuple[float, ...]
) -> tuple[list[float], list[float]]:
    """Per axis (rows, columns): the original index of changed index 0, and of one step."""
    start, step = [], []
    for direction, pixels, cell in zip((change.rows, change.columns), size, cells, strict=True):
        shift = max(1.0, round(SHIFT * pixels))
        whole = round(shift / cell) * cell  # a whole number of cells needs no interpolation on the way back
        shift = whole if whole >= 1 and whole == round(whole) else shift
        middle = (pixels - 1) / 2
        start.append(middle * (1 - 1 / change.zoom) - direction * shift)
        step.append(1 / change.zoom)
    return start, step


def _grid(grid: Grid, start: list[float], step: list[float]) -> Grid:
    rest = len(grid.shape) - 2
    return grid.rescaled(grid.shape, [1.0] * rest + step, [0.0] * rest + start)


def _moved(x: Tensor, start: list[float], step: list[float]) -> Tensor:
    """Linear interpolation along rows and columns; beyond the image its border repeats."""
    for axis, (first, stride) in enumerate(zip(start, step, strict=True), start=x.ndim - 2):
        size = x.shape[axis]
        if (first, stride) == (0.0, 1.0):
            continue
        places = (first + stride * torch.arange(size, dtype=torch.float64, device=x.device)).clamp(0, size - 1)
        low = places.floor().clamp(max=max(size - 2, 0)).long()
        near = x.index_select(axis, low)
        part = (places - low).to(x.dtype).reshape(-1, *[1] * (x.ndim - 1 - axis))
        if bool(part.any()):
            near = torch.lerp(near, x.index_select(axis, (low + 1).clamp(max=size - 1)), part)
        x = near
    return x


def _disturbed(x: Tensor, change: Change, seed: int) -> Tensor:
    """Contrast about the mean, and noise, both in shares of each sample's own standard deviation."""
    if change.gain == 0 and change.noise == 0:
        return x
    axes = tuple(range(1, x.ndim))
    mean, spread = x.mean(dim=axes, keepdim=True), x.std(dim=axes, keepdim=True)
    if change.noise:
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
        noise = torch.randn(x.shape[1:], generator=generator).to(x)
        return x + change.noise * spread * noise
    return mean + (x - mean) * (1 + change.gain)
