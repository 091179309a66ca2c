"""What happens to a slide on its way to the picture: pen, fold, bubble, focus. None of it knows the label."""

from __future__ import annotations

import numpy as np

from sample_data.section import Field, blurred, coarse_noise

# (red, green, blue) optical density of marker inks
INKS = {"green": (1.3, 0.35, 0.9), "blue": (1.4, 0.9, 0.2), "black": (1.3, 1.3, 1.2)}
PROBABILITY = 0.15  # of each artefact


def spoil(density: Field, draw: np.random.Generator) -> tuple[Field, tuple[str, ...]]:
    """Optical density (H, W, 3) with at most a few artefacts, and their names."""
    names = []
    for name, artefact in (("fold", _fold), ("bubble", _bubble), ("out of focus", _defocus), ("pen mark", _pen)):
        if draw.random() < PROBABILITY:
            density = artefact(density, draw)
            names.append(name)
    return density, tuple(names)


def _band(shape: tuple[int, ...], draw: np.random.Generator, offset: float) -> Field:
    """(H, W) pixels from a wavy line across the picture, `offset` pixels off its middle."""
    turn = draw.uniform(0, np.pi)
    y, x = np.arange(shape[0])[:, None] - shape[0] / 2, np.arange(shape[1]) - shape[1] / 2
    wave = 8 * coarse_noise(draw, (shape[0], shape[1]), 40)
    return (x * np.cos(turn) + y * np.sin(turn) - offset + wave).astype(np.float32)


def _fold(density: Field, draw: np.random.Generator) -> Field:
    """Tissue lying double."""
    half = draw.uniform(7, 14)
    across = np.abs(_band(density.shape, draw, float(draw.uniform(-0.3, 0.3) * density.shape[0])))
    return density * (1 + 0.8 * np.clip((half - across) / 2 + 0.5, 0, 1)[..., None])


def _bubble(density: Field, draw: np.random.Generator) -> Field:
    """Air under the glass: a dark refracting rim, and paler tissue out of focus within."""
    at, radius = draw.uniform(0, 1, 2) * density.shape[:2], draw.uniform(30, 60)
    reach = np.hypot(np.arange(density.shape[0])[:, None] - at[0], np.arange(density.shape[1]) - at[1])
    inside = np.clip((radius - reach) / 2 + 0.5, 0, 1)[..., None]
    rim = 0.5 * np.exp(-0.5 * ((reach - radius) / 2.2) ** 2)[..., None]
    return (density * (1 - inside) + 0.85 * blurred(density, 4) * inside + rim).astype(np.float32)


def _defocus(density: Field, draw: np.random.Generator) -> Field:
    """A part of the picture, or all of it, outside the depth of field."""
    share = np.clip(_band(density.shape, draw, float(draw.uniform(-0.6, 0.2) * density.shape[0])) / 40 + 0.5, 0, 1)[
        ..., None
    ]
    return (density * (1 - share) + blurred(density, int(draw.integers(8, 20))) * share).astype(np.float32)


def _pen(density: Field, draw: np.random.Generator) -> Field:
    """A marker's stroke near an edge of the picture, on top of the glass: tissue shines through a little."""
    side = float(draw.choice([-1, 1]) * draw.uniform(0.36, 0.46) * density.shape[0])
    half = draw.uniform(9, 18)
    across = np.abs(_band(density.shape, draw, side))
    streaks = 0.85 + 0.12 * coarse_noise(draw, (density.shape[0], density.shape[1]), 10)
    ink = np.array(INKS[str(draw.choice(list(INKS)))], np.float32)
    stroke = np.clip((half - across) / 4 + 0.5, 0, 1) * streaks
    return (blurred(density, 2) * (1 - 0.3 * stroke[..., None]) + stroke[..., None] * ink).astype(np.float32)
