"""Hematoxylin and eosin by Beer-Lambert: optical densities add up, light falls off exponentially."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

# optical density of unit stain in (red, green, blue): Ruifrok & Johnston, Anal Quant Cytol Histol 2001;23:291,
# and the reference of Macenko et al., ISBI 2009; laboratories lie between them
RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
MACENKO = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])


@dataclass(frozen=True)
class Stain:
    """One laboratory's staining.

    `vectors` (2, 3) optical density of unit hematoxylin and eosin; `lamp` (3,) is white, 0-255.
    """

    vectors: NDArray[np.float64]
    strength: tuple[float, float]
    lamp: NDArray[np.float64]

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Stain:
        """A laboratory between the published vectors, paler or stronger, under a lamp that is not quite white."""
        mix = generator.uniform(0.35, 0.85)
        vectors = (1 - mix) * RUIFROK + mix * MACENKO + generator.normal(0, 0.02, (2, 3))
        vectors = np.clip(vectors, 0.02, None)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        strength = (float(generator.uniform(0.8, 1.15)), float(generator.uniform(0.75, 1.2)))
        return cls(vectors, strength, generator.uniform(240, 250) + generator.normal(0, 1.5, 3))

    def density(self, hematoxylin: Field, eosin: Field) -> Field:
        """Concentrations (H, W) to optical density (H, W, 3)."""
        vectors = (self.vectors * np.array(self.strength)[:, None]).astype(np.float32)
        return hematoxylin[..., None] * vectors[0] + eosin[..., None] * vectors[1]

    def light(self, density: Field) -> Field:
        """Optical density (H, W, 3) to what the camera sees, 0-255."""
        return (self.lamp.astype(np.float32) * np.exp(-np.float32(np.log(10)) * density)).astype(np.float32)

    def concentrations(self, rgb: NDArray[np.generic]) -> tuple[Field, Field]:
        """Colour deconvolution: (H, W, 3) 0-255 back to hematoxylin and eosin, least squares."""
        density = -np.log10(np.clip(np.asarray(rgb, float), 1, None) / self.lamp)
        both = density @ np.linalg.pinv(self.vectors * np.array(self.strength)[:, None])
        return both[..., 0].astype(np.float32), both[..., 1].astype(np.float32)
