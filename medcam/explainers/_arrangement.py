"""Any activation as rows of maps (rows, C, *s), and maps of rows back as evidence on the input's axes (B, *grid)."""

import math
from dataclasses import dataclass

from torch import Tensor

from medcam.explainers._layout import BATCH, Axis, Layout, Tokens, spread


@dataclass(frozen=True)
class Arrangement:
    """Which parts of an activation's dimensions are rows, channels and cells.

    Rows are what is convolved on its own: the samples, or each frame of each sample where a model folds time into
    the batch. `axes` is the number of spatial axes of the input.
    """

    layout: Layout
    axes: int

    @property
    def row_parts(self) -> tuple[Axis, ...]:
        """Samples and whatever is folded with them, outermost first."""
        return self.layout[0]

    @property
    def cell_parts(self) -> tuple[Axis, ...]:
        """The axes of one row's map, in the order of the input's axes."""
        parts = [part for dim in self.layout[1:] for part in spread(dim) if part.placed]
        return tuple(sorted(parts, key=lambda part: part.source or 0))

    @property
    def valid(self) -> bool:
        """Whether this is a map at all: one batch, at least two placed cell axes, none of them twice or in windows."""
        placed = [part.source for part in (*self.row_parts, *self.cell_parts) if part.placed]
        straight = all(part.straight for part in (*self.row_parts, *self.cell_parts) if part.placed)
        batches = [part for dim in self.layout for part in dim if part.source == BATCH]
        in_rows = all(part.source is not None for part in self.row_parts)
        alone = all(len(dim) == 1 for dim in self.layout if any(isinstance(part, Tokens) for part in dim))
        return (
            len(batches) == 1
            and batches[0] in self.row_parts
            and in_rows
            and len(self.cell_parts) >= 2
            and len(set(placed)) == len(placed)
            and straight
            and alone
        )

    @property
    def rows_per_sample(self) -> int:
        """How many rows belong to one sample: the frames of a clip, else 1."""
        return math.prod(part.size for part in self.row_parts if part.placed)

    @property
    def axis_of(self) -> dict[int, Axis]:
        """The placed axes by the input axis they run along."""
        return {
            part.source: part for part in (*self.row_parts, *self.cell_parts) if part.source is not None and part.placed
        }

    @property
    def extras(self) -> tuple[int, int]:
        """How many tokens without a place come before the cells, and after them."""
        rows = [part for dim in self.layout for part in dim if isinstance(part, Tokens)]
        return (rows[0].before, rows[0].after) if rows else (0, 0)

    def rows(self, tensor: Tensor) -> Tensor:
        """Activation or gradient, as the layer gives it, to (rows, C, *s); tokens without a place are left out."""
        for dim, parts_of in enumerate(self.layout):
            if isinstance(row := parts_of[0], Tokens):
                tensor = tensor.narrow(dim, row.before, row.size - row.before - row.after)
        dims = [spread(dim) for dim in self.layout[1:]]
        channels = [dim for dim, parts in enumerate(dims, start=1) if not any(part.placed for part in parts)]
        if channels == [1] and all(len(parts) == 1 for parts in dims) and self._ordered:
            return tensor
        parts = [part for dim in dims for part in dim]
        split = tensor.reshape(tensor.shape[0], *(part.size for part in parts))
        of_channels = [i for i, part in enumerate(parts, start=1) if not part.placed]
        of_cells = sorted(
            (i for i, part in enumerate(parts, start=1) if part.placed), key=lambda i: parts[i - 1].source or 0
        )
        moved = split.permute(0, *of_channels, *of_cells)
        return moved.reshape(tensor.shape[0], -1, *(parts[i - 1].size for i in of_cells))

    @property
    def _ordered(self) -> bool:
        sources = [part.source for dim in self.layout[2:] for part in spread(dim)]
        return sources == [part.source for part in self.cell_parts]

    def evidence(self, maps: Tensor, batch: int) -> Tensor:
        """Maps (rows, K, *s) to evidence (B, K, *grid); an axis that the layer has pooled away is one cell."""
        sizes = [batch if part.source == BATCH else part.size for part in self.row_parts]
        maps = maps.reshape(*sizes, *maps.shape[1:])  # (..B..T.., K, *s)
        sources = [*(part.source for part in self.row_parts), None, *(part.source for part in self.cell_parts)]
        present = [source for source in range(self.axes) if source in sources]
        maps = maps.permute(sources.index(BATCH), sources.index(None), *(sources.index(s) for s in present))
        for source in range(self.axes):
            if source not in present:
                maps = maps.unsqueeze(2 + source)
        return maps
