"""Phantoms as loaded series: the same Pixels and Grid as the readers give for the files that `sample_data` writes."""

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.grid import Grid, resample
from medcam.plugins import locate
from medcam.study import Pixels
from medcam.transforms import Prepared, compose, prepare

GENERATORS = {
    "chest_xray_opacity": "chest_xray",
    "chest_ct_nodule": "chest_ct",
    "lung_ultrasound": "lung_ultrasound",
    "histology_tumour": "histology",
}
"""The module of `sample_data` that draws the phantoms of a pipeline."""


@dataclass(frozen=True)
class Sample:
    """A phantom as a model sees it, with its truth on the model's input grid."""

    prepared: Prepared
    mask: npt.NDArray[np.bool_]
    """(*space): cells of the input that lie in a lesion."""
    label: int


def generator(pipeline: str) -> ModuleType:
    """The phantom generator of a pipeline, from a checkout or from an installation."""
    root = str(locate("sample_data").parent)
    if root not in sys.path:
        sys.path.append(root)
    return importlib.import_module(f"sample_data.{GENERATORS[pipeline]}")


def sample(phantom: Any, transform: str, options: dict[str, Any]) -> Sample:
    """A phantom through a transform, with its lesion mask on the transform's output grid."""
    source = pixels(phantom)
    prepared = prepare(source, compose(transform, facts(phantom), **options))
    mask = resample(phantom.mask, source.grid, prepared.grid, nearest=True) > 0.5
    return Sample(prepared, mask, int(phantom.label))


def pixels(phantom: Any) -> Pixels:
    """A `sample_data` Phantom as the reader of its files gives it; a CT without the tilt that a file may add."""
    shape, spacing = phantom.mask.shape, phantom.spacing
    if phantom.modality == "CT":  # d to the head, h to the back, w to the patient's left; RAS millimetres
        affine = [[0, 0, -spacing[2], 0], [0, -spacing[1], 0, 0], [spacing[0], 0, 0, 0], [0, 0, 0, 1]]
        return Pixels(phantom.pixels, Grid.of(shape, affine, space="patient", mm_known=True), False, "HU")
    more: dict[str, Any] = {"patient_orientation": ("L", "F")} if phantom.modality == "DX" else {}
    if phantom.modality == "US":
        more["frame_times_s"] = phantom.frame_times_s
    grid = Grid.plane(shape, spacing, space="detector", mm_known=True, **more)
    return Pixels(phantom.pixels, grid, *((False, "grey") if phantom.modality == "DX" else (True, "RGB")))


def facts(phantom: Any) -> dict[str, str]:
    """The header facts that transforms look at: where the scanned region of an ultrasound screen lies."""
    if phantom.modality != "US":
        return {}
    rows, columns = (np.nonzero(phantom.probe.sector.any(axis=axis))[0] for axis in (1, 0))
    return {"UltrasoundRegion": f"{columns[0]}\\{rows[0]}\\{columns[-1]}\\{rows[-1]}"}
