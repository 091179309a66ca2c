"""What `explain` returns: raw evidence with its place, and ways to put it on other grids, on paper and on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from medcam.errors import UsageError
from medcam.explainers._alignment import Alignment
from medcam.explainers._arrangement import Arrangement
from medcam.explainers._capture import Tap
from medcam.explainers._outliers import named, repaired
from medcam.explainers._stitch import Placement, stitch
from medcam.explainers._targets import Targets
from medcam.explainers.base import Method
from medcam.findings import Explanation, Unit
from medcam.grid import Grid, resample


@dataclass(frozen=True, repr=False)
class Explained:
    """Evidence of one method for B samples and K targets each, at the layer's own resolution."""

    by: Method
    """The method, with its settings."""
    evidence: Tensor
    """(B, K, *grid): raw, in `unit`, never normalised."""
    grids: tuple[Grid, ...]
    """Of the evidence, one per sample: cells sit where their receptive fields are."""
    input_grids: tuple[Grid, ...]
    output: Any
    """The model's raw output, detached."""
    scores: Tensor
    """(B, K): the explained scalars."""
    targets: Targets
    tap: Tap
    arrangement: Arrangement
    alignment: Alignment
    logits: Tensor | None
    """(B, K, 2): logits that the cells speak for and against each target in total, to first order; None where the
    method's unit is not the logit."""
    images: Tensor
    """(B, C, *space): what the model saw."""
    features: Tensor | None
    """(B, channels): the activation at the layer, averaged over cells and frames, which is what the image looks like to
    the model; None where the method looks at no layer."""
    notes: tuple[str, ...] = ()
    """What holds for all maps: the layer that was picked, the mode that was forced."""
    flags: Mapping[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
    """What the reader of the map of (sample, target) must know, e.g. that it is empty."""
    outliers: Tensor | None = None
    """(B, *grid): cells of a transformer's outlier tokens, which may be bright without a finding; see `repaired`."""
    parts: Tensor | None = None
    """(B, K, parts, *grid): what the evidence is the sum of, where a method can tell: concepts."""

    @property
    def method(self) -> str:
        """The method's name."""
        return self.by.name

    @property
    def unit(self) -> Unit:
        """What the numbers are measured in; only equal units may share a scale."""
        return self.by.unit

    @property
    def signed(self) -> bool:
        """Whether negative evidence counts against the target."""
        return self.by.signed

    @property
    def class_specific(self) -> bool:
        """Whether another target gives another map."""
        return self.by.class_specific

    @property
    def layer(self) -> str:
        """The explained layer in words."""
        return str(self.tap)

    @property
    def grid(self) -> Grid:
        """The evidence's grid, where all samples share one.

        Raises:
            UsageError: the samples lie on different grids; see `grids`.
        """
        if any(grid != self.grids[0] for grid in self.grids):
            raise UsageError("many-grids", "The samples lie on different grids; use e.grids[b].")
        return self.grids[0]

    def on_input(self, align: bool = True) -> Tensor:
        """(B, K, *space): by exact alignment, or stretched over the field of view (half-pixel) as other tools do."""
        if align:
            return self.on(self.input_grids)
        mode = "bilinear" if len(self.input_grids[0].shape) == 2 else "trilinear"
        return torch.nn.functional.interpolate(self.evidence, self.input_grids[0].shape, mode=mode, align_corners=False)

    def on(self, grid: Grid | Sequence[Grid]) -> Tensor:
        """(B, K, *grid.shape) by linear interpolation, zero where the model's input did not reach.

        One grid for all samples, or one each (of equal shapes).
        """
        targets = [grid] * len(self.grids) if isinstance(grid, Grid) else list(grid)
        values = self.evidence.cpu().numpy()
        moved = [
            resample(maps, source, target, within=seen)
            for maps, source, target, seen in zip(values, self.grids, targets, self.input_grids, strict=True)
        ]
        return torch.from_numpy(np.stack(moved)).to(self.evidence.device)

    def repaired(self) -> "Explained":
        """The same with the cells of outlier tokens replaced by the median of their neighbours; flags say which."""
        if self.outliers is None or not bool(self.outliers.any()):
            return self
        flags = dict(self.flags)
        for sample in self.outliers.flatten(1).any(1).nonzero().flatten().tolist():
            said = f"{named(self.outliers[sample])} replaced by the median of the neighbours"
            for target in range(self.evidence.shape[1]):
                flags[sample, target] = (*flags.get((sample, target), ()), said)
        evidence = repaired(self.evidence, self.outliers)
        return replace(self, evidence=evidence, outliers=None, parts=None, flags=flags)

    def display_range(self, sample: int) -> tuple[float, float]:
        """Evidence shown as no colour and full colour: one range for all targets, slices and frames of a sample.

        Full colour is the strongest evidence for a target, unless that is little: where all cells together speak for
        it with less than one logit, or more speaks against it, colours fade, so that a healthy image stays pale.
        """
        return self._range(self.evidence[sample], None if self.logits is None else self.logits[sample])

    @staticmethod
    def _range(maps: Tensor, logits: Tensor | None) -> tuple[float, float]:
        """Of maps (K, *grid) and what they speak for and against in total (K, 2)."""
        top, strength = float(maps.max()), 1.0
        if logits is not None:
            speaks_for, against = logits[logits[:, 0].argmax()].tolist()
            strength = min(1.0, speaks_for) * speaks_for / max(speaks_for + against, 1e-12)
        return 0.0, top / max(strength, 1e-6) if top > 0 else float(maps.abs().max())

    def display(self) -> Tensor:
        """(B, K, *grid) in [0, 1], for the eye, never for numbers."""
        tops = [self.display_range(sample)[1] for sample in range(len(self.grids))]
        scale = torch.tensor([top or 1.0 for top in tops], device=self.evidence.device)
        return (self.evidence / scale.reshape(-1, *[1] * (self.evidence.ndim - 1))).clamp(0, 1)

    def sample(self, sample: int = 0, target: int = 0, name: str | None = None) -> Explanation:
        """One map as a record that can be stored; `name` is what the target is called, e.g. "opacity"."""
        return Explanation(
            method=self.method,
            layer=self.layer,
            target=name or self.targets.name(sample, target),
            unit=self.unit,
            signed=self.signed,
            class_specific=self.class_specific,
            grid=self.grids[sample],
            input_grid=self.input_grids[sample],
            evidence=self.evidence[sample, target].float().cpu().numpy(),
            display_range=self.display_range(sample),
            alignment=self.alignment.how,
            notes=(*self.notes, *self.flags.get((sample, target), ())),
        )

    def stitched(
        self,
        placements: Sequence[Placement],
        whole: Grid,
        target: int = 0,
        name: str | None = None,
        overlap: Literal["sum", "mean"] = "sum",
    ) -> Explanation:
        """One record for the whole of which the B rows are parts: a cine, a volume seen in windows, a slide.

        Raises:
            ExplainError: the placements do not fit the rows.
        """
        maps = self.evidence[:, target].float().cpu().numpy()
        evidence, grid = stitch(maps, placements, self.alignment, whole, self.images.shape[2:], overlap=overlap)
        flagged = {flag for (_, k), flags in self.flags.items() if k == target for flag in flags}
        logits = None
        if self.logits is not None:
            weights = torch.tensor([placement.weight for placement in placements]).to(self.logits)
            logits = (weights[:, None] * self.logits[:, target]).sum(dim=0, keepdim=True)
        return replace(
            self.sample(0, target, name),
            evidence=evidence,
            grid=grid,
            input_grid=whole,
            display_range=self._range(torch.from_numpy(evidence)[None], logits),
            notes=(*self.notes, f"{len(maps)} parts", *sorted(f"in some parts {flag}" for flag in flagged)),
        )

    def save(self, path: str | Path, sample: int = 0, target: int = 0) -> Path:
        """Write one map: `.nii` or `.nii.gz` holds the raw evidence at its place, `.png` a picture over the input.

        Raises:
            UsageError: the suffix is neither.
        """
        from medcam.explainers._picture import picture, write_nifti

        path = Path(path)
        if path.name.endswith((".nii", ".nii.gz")):
            write_nifti(path, self.sample(sample, target))
        elif path.suffix == ".png":
            path.write_bytes(picture(self, sample, target))
        else:
            raise UsageError("unknown-suffix", f"A map is saved as .nii, .nii.gz or .png, not as {path.name!r}.")
        return path

    def show(self, sample: int = 0, target: int = 0) -> None:
        """The picture of one map in a window or notebook (needs matplotlib)."""
        from medcam.explainers._picture import show

        show(self, sample, target)

    def _repr_png_(self) -> bytes:
        from medcam.explainers._picture import picture

        return picture(self, 0, 0)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.evidence.shape))
        said = "".join(f"\n  {note}" for note in self.notes)
        flagged = "".join(f"\n  sample {b}, target {k}: {'; '.join(why)}" for (b, k), why in self.flags.items())
        return f"{self.method} at {self.layer}: evidence {shape} in {self.unit}; {self.alignment}{said}{flagged}"
