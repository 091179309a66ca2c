"""One map as a picture over the model's input, and as a NIfTI file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medcam.display import Bytes, colour_bar, overlay, png, to_bytes
from medcam.findings import Explanation
from medcam.grid import resample

if TYPE_CHECKING:
    from medcam.explainers._result import Explained

GAP = 4
"""Pixels between the original, the overlay and the colour bar."""


def picture(explained: "Explained", sample: int, target: int) -> bytes:
    """PNG: the original beside the overlay and the colour bar, on the slice or frame with the strongest evidence."""
    return png(_side_by_side(explained, sample, target))


def show(explained: "Explained", sample: int, target: int) -> None:
    """The same picture with title and unit, by matplotlib."""
    import matplotlib.pyplot as plt

    low, high = explained.display_range(sample)
    figure, axes = plt.subplots()
    axes.imshow(_side_by_side(explained, sample, target))
    axes.set_title(f"{explained.method}, {explained.targets.name(sample, target)}")
    axes.set_xlabel(f"colour: {low:.3g} to {high:.3g} {explained.unit} per cell")
    axes.set_xticks([])
    axes.set_yticks([])
    figure.show() if plt.get_backend().lower() != "agg" else None


def _side_by_side(explained: "Explained", sample: int, target: int) -> Bytes:
    record = explained.sample(sample, target)
    base = _eight_bits(explained.images[sample].detach().float().cpu().numpy())  # (*space) or (*space, 3)
    evidence = resample(record.evidence, record.grid, record.input_grid)
    if evidence.ndim == 3:
        peak = int(evidence.reshape(len(evidence), -1).max(1).argmax())
        base, evidence = base[peak], evidence[peak]
    painted = overlay(base, evidence, record.display_range)
    original = painted.copy()
    original[...] = base if base.ndim == 3 else base[..., None]
    bar = colour_bar(len(painted), max(6, painted.shape[1] // 20), signed=record.signed)
    gap = np.full((len(painted), GAP, 3), 255, np.uint8)
    return np.concatenate([original, gap, painted, gap, bar], axis=1)


def _eight_bits(image: npt.NDArray[Any]) -> Bytes:
    """(C, *space) to bytes at one window for all slices and frames; three channels are shown as colour."""
    colour = image.shape[0] == 3
    values = np.moveaxis(image, 0, -1) if colour else image[0]
    low, high = np.percentile(values, (0.5, 99.5))
    scaled = to_bytes(values.reshape(len(values), -1), (float(low + high) / 2, max(float(high - low), 1e-6)))
    return scaled.reshape(values.shape)


def write_nifti(path: Path, explanation: Explanation) -> None:
    """Raw evidence (D, H, W) with its affine in RAS mm; marked as scanner space only where it is one."""
    import nibabel

    grid, values = explanation.grid, explanation.evidence
    volume = values if values.ndim == 3 else values[None]
    image = nibabel.Nifti1Image(volume.astype(np.float32), grid.matrix)  # type: ignore[no-untyped-call]  # untyped
    image.header["sform_code"] = 1 if grid.space == "patient" else 2  # 2: a space of its own, not the scanner's
    image.header["xyzt_units"] = 2 if grid.mm_known else 0  # mm, or unknown
    image.header["descrip"] = f"medcam {explanation.method} {explanation.unit}".encode()[:79]
    nibabel.save(image, path)
