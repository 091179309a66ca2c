"""From values to what the eye sees: windows, evidence on a plane, overlays, colour bars. Never for numbers."""

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.findings import Case, KeyImage
from medcam.grid import Grid, resample

Bytes = npt.NDArray[np.uint8]

WINDOWS: dict[str, tuple[float, float]] = {"lung": (-600, 1500), "mediastinum": (40, 400), "bone": (400, 1800)}
"""Centre and width in HU of the usual CT presets."""

_HOT = np.array([[70, 0, 95], [185, 25, 90], [250, 130, 40], [255, 240, 130]], dtype=np.float64)
_COLD = np.array([[20, 30, 90], [30, 90, 180], [70, 180, 220], [190, 245, 245]], dtype=np.float64)


def auto_window(plane: npt.NDArray[Any]) -> tuple[float, float]:
    """Centre and width that show all but the outermost half per cent of the values."""
    low, high = np.percentile(np.asarray(plane)[::2, ::2], (0.5, 99.5))
    return float(low + high) / 2, max(float(high - low), 1e-6)


def to_bytes(plane: npt.NDArray[Any], window: tuple[float, float] | None) -> Bytes:
    """A plane (H, W) at a window, or RGB (H, W, 3) as it is, in 8 bits."""
    if plane.ndim == 3:
        return np.asarray(plane, dtype=np.uint8)
    centre, width = window or auto_window(plane)
    scaled = (np.asarray(plane, dtype=np.float32) - np.float32(centre - width / 2)) * np.float32(255 / width)
    clipped: Bytes = np.clip(scaled, 0, 255).astype(np.uint8)
    return clipped


def evidence_plane(
    case: Case, index: int | None, grid: Grid | None = None, *, spread: bool = False
) -> npt.NDArray[Any]:
    """The case's evidence (H, W) on its source plane `index`, or on the `grid` of a picture, by exact alignment."""
    explanation = case.explanation
    values = explanation.spread if spread and explanation.spread is not None else explanation.evidence
    target = grid or case.grid
    slab = slice(index, index + 1) if index is not None and len(target.shape) == 3 else None
    plane = resample(values, explanation.grid, target, within=explanation.input_grid, slab=slab)
    return plane[0] if plane.ndim == 3 else plane


def picture_evidence(case: Case, picture: KeyImage) -> npt.NDArray[Any]:
    """The case's evidence (H, W) on one of its key images."""
    return evidence_plane(case, picture.index, picture.grid)


def colour(strength: npt.NDArray[Any]) -> Bytes:
    """RGB (..., 3) of evidence scaled to [-1, 1]: dark to bright orange for, blue against."""
    steps = np.clip(np.abs(strength), 0, 1)[..., None] * (len(_HOT) - 1)
    low = np.minimum(steps.astype(np.intp), len(_HOT) - 2)
    ramps = [ramp[low[..., 0]] + (ramp[low[..., 0] + 1] - ramp[low[..., 0]]) * (steps - low) for ramp in (_HOT, _COLD)]
    rgb: Bytes = np.where((strength >= 0)[..., None], *ramps).astype(np.uint8)
    return rgb


def strength(evidence: npt.NDArray[Any], display_range: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Evidence as a share of the display range: [0, 1], or [-1, 1] where the range begins below zero.

    A range from zero shows only what speaks for the finding; an empty range shows nothing.
    """
    low, high = display_range
    if high <= low:
        return np.zeros(np.shape(evidence), dtype=np.float32)
    values = np.asarray(evidence, np.float32)
    scaled = (values - low) / (high - low) if low >= 0 else values / max(-low, high)
    share: npt.NDArray[np.float32] = np.clip(scaled, 0 if low >= 0 else -1, 1)
    return share


def overlay(
    base: Bytes,
    evidence: npt.NDArray[Any],
    display_range: tuple[float, float],
    *,
    opacity: float = 0.5,
    least: float = 0.25,
) -> Bytes:
    """RGB (H, W, 3): evidence painted on the base where it reaches the share `least` of the display range."""
    rgb = np.repeat(base[..., None], 3, axis=-1) if base.ndim == 2 else base
    share = strength(evidence, display_range)
    visible = np.abs(share) >= max(least, 1e-6)
    painted = rgb.copy()
    painted[visible] = (rgb[visible] * (1 - opacity) + colour(share[visible]) * opacity).astype(np.uint8)
    return painted


def colour_bar(height: int, width: int, least: float = 0.25, signed: bool = False) -> Bytes:
    """RGB (height, width, 3), strongest at the top; grey where evidence is not painted."""
    share = np.linspace(1, -1 if signed else 0, height)
    bar = np.where((np.abs(share) >= least)[:, None], colour(share), 128).astype(np.uint8)
    return np.repeat(bar[:, None], width, axis=1)


def png(picture: Bytes) -> bytes:
    """A PNG of (H, W) or RGB (H, W, 3).

    Each row is stored as its difference from the row above. Writers that look for the best such filter row by row make
    files of the same size from pictures like ours and take twice as long. Source: PNG specification, sections 5 and 9.
    """
    height, width = picture.shape[:2]
    flat = np.ascontiguousarray(picture).reshape(height, -1)
    rows = np.full((height, flat.shape[1] + 1), 2, dtype=np.uint8)  # filter type 2 before each row: "Up"
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])  # modulo 256
    colour_type = 0 if picture.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in parts
    )
