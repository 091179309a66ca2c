"""What models are trained on is what screening sees: phantoms written as DICOM and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcam.data.phantoms import GENERATORS, facts, generator, pixels, sample
from medcam.readers import Decoder, index
from medcam.study import Pixels, Series
from medcam.transforms import compose, prepare
from sample_data.dicom import Patient, Study

PATIENT = Patient("P1", "Phantom^P1", "F", "19700101")
STUDY = Study("2.25.1", "1", "20240101", "120000", "Phantom")
TRANSFORMS = {
    "chest_xray_opacity": "xray",
    "chest_ct_nodule": "ct",
    "lung_ultrasound": "ultrasound",
    "histology_tumour": "histology",
}


def read(folder: Path, decoded: Path) -> tuple[Series, Pixels]:
    (series,) = index(folder, workers=1).used
    decoded.mkdir()
    with Decoder() as decoder:
        return series, decoder.pixels(series, decoded)


@pytest.mark.parametrize("pipeline", GENERATORS)
def test_the_model_s_input_is_the_same_from_a_phantom_and_from_its_files(pipeline: str, tmp_path: Path) -> None:
    module = generator(pipeline)
    phantom = module.phantom(3, True)
    how: dict[str, Any] = {"inverted": True} if pipeline == "chest_xray_opacity" else {}
    module.write(phantom, tmp_path / "files", PATIENT, STUDY, **how)
    series, loaded = read(tmp_path / "files", tmp_path / "decoded")
    filed = prepare(loaded, compose(TRANSFORMS[pipeline], series.facts))
    drawn = prepare(pixels(phantom), compose(TRANSFORMS[pipeline], facts(phantom)))
    assert filed.tensor.shape == drawn.tensor.shape
    assert (filed.tensor - drawn.tensor).abs().mean() < 2e-3
    assert (filed.tensor - drawn.tensor).abs().max() < 0.05
    assert filed.grid.spacing == pytest.approx(drawn.grid.spacing, rel=1e-3)
    assert (filed.grid.space, filed.grid.mm_known) == (drawn.grid.space, drawn.grid.mm_known)
    if drawn.grid.frame_times_s is not None:
        assert filed.grid.frame_times_s == pytest.approx(drawn.grid.frame_times_s, abs=1e-3)


@pytest.mark.parametrize("pipeline", GENERATORS)
def test_the_mask_marks_what_the_lesion_changed(pipeline: str) -> None:
    module = generator(pipeline)
    sick, healthy = (sample(module.phantom(5, label), TRANSFORMS[pipeline], {}) for label in (True, False))
    assert (sick.label, healthy.label) == (1, 0)
    assert not healthy.mask.any()
    changed = (sick.prepared.tensor - healthy.prepared.tensor).abs().mean((0, 1)).numpy()
    assert sick.mask.shape == changed.shape
    assert changed[sick.mask].mean() > 4 * changed[~sick.mask].mean()


def test_a_tumour_s_mask_follows_its_axes() -> None:
    phantom = generator("chest_ct_nodule").phantom(7, True)
    made = sample(phantom, "ct", {"size": [70, 150, 150], "spacing_mm": [4.5, 2.2, 2.2]})
    grid, source = made.prepared.grid, pixels(phantom).grid
    middle = grid.position(np.argwhere(made.mask).mean(0))
    assert middle == pytest.approx(source.position(np.argwhere(phantom.mask).mean(0)), abs=2.5)
