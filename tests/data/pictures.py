"""Folders of small pictures with a manifest, and cines whose frames can be told apart."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from medcam.data.manifest import Manifest


def picture(seed: int, shape: tuple[int, ...] = (48, 40)) -> npt.NDArray[np.uint8]:
    """Smooth blobs, different for every seed; the last axis is 3 if in colour."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, 1, n)[at] for n, at in zip(shape[:2], (np.s_[:, None], np.s_[None]), strict=True))
    values = sum(
        rng.uniform(0.3, 1)
        * np.exp(-((rows - rng.random()) ** 2 + (columns - rng.random()) ** 2) / rng.uniform(0.01, 0.1))
        for _ in range(6)
    )
    grey = (255 * values / values.max()).astype(np.uint8)
    return np.stack([grey, grey // 2, 255 - grey], axis=-1) if len(shape) == 3 else grey


def write_manifest(folder: Path, rows: Sequence[tuple[str, str, str]], extra: Sequence[str] = ()) -> Manifest:
    """A manifest of (file, label, patient_id) rows; `extra` are its further cells, the header's first."""
    more = [f",{cell}" for cell in extra] or [""] * (len(rows) + 1)
    lines = [
        "file,label,patient_id" + more[0],
        *(",".join(row) + cell for row, cell in zip(rows, more[1:], strict=True)),
    ]
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return Manifest.read(path)


def write_pictures(folder: Path, count: int, shape: tuple[int, ...] = (48, 40)) -> Manifest:
    """`count` PNGs of as many seeds, two of each patient, every other patient with label 1."""
    for number in range(count):
        Image.fromarray(picture(number, shape)).save(folder / f"{number}.png")
    return write_manifest(folder, [(f"{n}.png", str(n // 2 % 2), f"p{n // 2}") for n in range(count)])


def write_cine(path: Path, frames: npt.NDArray[np.uint8], rate: Fraction) -> None:
    """(T, H, W) grey frames without loss, at `rate` per second."""
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], "gray"
        stream.codec_context.thread_count = 1
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(values, format="gray")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
