"""The bundles that ship: small, whole, and able to tell and to point on phantoms that nothing was trained on."""

import pytest

from medcam.data.phantoms import GENERATORS
from medcam.evaluation.phantoms import measure
from medcam.models import load_bundle
from medcam.plugins import locate

BUNDLES = locate("sample_data") / "bundles"
CASES = {"chest_xray_opacity": 12, "chest_ct_nodule": 8, "lung_ultrasound": 8, "histology_tumour": 12}


@pytest.mark.parametrize("pipeline", GENERATORS)
def test_a_bundle_is_small_and_says_what_it_is(pipeline: str) -> None:
    bundle = load_bundle(BUNDLES / pipeline)
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file()) < 3_000_000
    card = bundle.card
    assert (card.pipeline, card.demonstration, card.trained_on) == (pipeline, True, "medcam phantoms")
    assert 0 < card.threshold < 1
    assert "Youden" in card.threshold_origin
    readme = (bundle.folder / "docs/README.md").read_text()
    assert "decides nothing about a patient" in readme
    for word in ("## Data", "## Training", "## Figures", "## Limits", f"{card.threshold:.4f}"):
        assert word in readme


@pytest.mark.parametrize("pipeline", CASES)
def test_a_bundle_tells_sick_from_healthy_and_points_at_the_lesion(pipeline: str) -> None:
    figures = measure(load_bundle(BUNDLES / pipeline), CASES[pipeline], first=40_000_000)
    assert figures.area > 0.9
    found, sick = figures.sensitivity
    assert found >= sick - 1
    hits, cases = figures.peak
    assert hits >= cases - 1
    assert figures.centre[0] < hits
    assert figures.cold[0] >= figures.cold[1] - 1
