"""A left lateral chest X-ray: the view that a pipeline for frontal images must refuse."""

from __future__ import annotations

import numpy as np

from sample_data import chest_ct
from sample_data.phantom import Phantom, stream
from sample_data.texture import enlarge, smooth

SIZE, PIXEL_MM = 512, 0.75
_SOFT_PER_MM = 0.0185


def phantom(seed: int) -> Phantom:
    """A healthy thorax seen from its left side, 512 x 512, the chest facing the left edge of the picture."""
    thorax = chest_ct.phantom(seed, sick=False)
    water = np.clip(np.asarray(thorax.pixels, dtype=np.float32) / 1000 + 1, 0, 2)
    path = water[::-1, :128].sum(axis=2) * np.float32(thorax.spacing[2])  # head up; the table is left out
    path[:, -1] = 0  # air behind the back
    # nearest planes of the CT for each row of the detector, then smoothed over the thickness of a slice
    rows = np.arange(SIZE) * PIXEL_MM / thorax.spacing[0]
    columns = np.arange(SIZE) * PIXEL_MM / thorax.spacing[1]
    dense = path[np.clip(rows, 0, len(path) - 1).astype(int)][:, np.clip(columns, 0, 127).astype(int)]
    dense = smooth(dense, 12, (0, 1)) * np.float32(_SOFT_PER_MM)
    grain = stream(seed, "lateral").standard_normal(dense.shape, dtype=np.float32)
    dense = dense + 0.03 * smooth(grain, 1, (0, 1))
    blocks = dense.reshape(SIZE // 4, 4, SIZE // 4, 4).mean(axis=(1, 3))
    sharp = 2 * dense - enlarge(smooth(blocks, 12, (0, 1)), 4, (0, 1))
    film = (1 / (1 + np.exp(-(sharp - 3.0) / 0.9))).astype(np.float32)
    return Phantom("DX", film, np.zeros(film.shape, dtype=bool), 0, (PIXEL_MM, PIXEL_MM), (), view="LL")
