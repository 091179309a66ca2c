"""The shipped pipelines with their demonstration bundles on an archive of phantoms, held against its truth."""

import numpy as np
import pytest

from medcam.plugins import locate
from medcam.results import Results

PIPELINES = ("chest_ct_nodule", "chest_xray_opacity", "histology_tumour", "lung_ultrasound")


@pytest.fixture(scope="module")
def phantoms(archive, demonstration):
    """Every case with its row of the truth and its lesions' mask, and what was refused."""
    root, truth = archive
    results = Results.open(demonstration[0] / "results")
    cases = {results.identifiers(row["key"]).series_uid: results.case(row["key"]) for row in results.rows()}
    refusals = results.refusals()
    results.close()
    found = []
    for study in truth["studies"]:
        if study["expected"]["status"] == "used":
            mask = np.load(root / study["mask"]) if study["mask"] else None
            found.append((cases.pop(study["series_uid"]), study, mask))
    assert cases == {}
    return found, refusals


def of(phantoms, pipeline):
    return [(case, study, mask) for case, study, mask in phantoms[0] if case.pipeline == pipeline]


def test_every_expected_study_has_a_case_and_the_others_their_reason(phantoms):
    found, refusals = phantoms
    assert len(found) == 21
    assert sorted(row["code"] for row in refusals if row["status"] == "refused") == [
        "anatomy-not-stated",
        "missing-slices",
        "other-view",
    ]
    assert not any(row["status"] == "failed" for row in refusals)
    for case, _, _ in found:
        assert case.phantom
        assert case.decision.text != "demonstration only"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_bundle_ships_small_and_says_what_it_is(pipeline):
    folder = locate("sample_data") / "bundles" / pipeline
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    card = (folder / "docs" / "README.md").read_text()
    assert "phantom" in card


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_sick_phantoms_score_higher_than_healthy_ones(phantoms, pipeline):
    sick = [case.prediction.score for case, study, _ in of(phantoms, pipeline) if study["label"]]
    healthy = [case.prediction.score for case, study, _ in of(phantoms, pipeline) if not study["label"]]
    pairs = [one > other for one in sick for other in healthy]
    assert len(pairs) >= 2
    assert np.mean(pairs) >= 0.8  # the area under the ROC curve
    right = [(case.decision.outcome == "flagged") == bool(study["label"]) for case, study, _ in of(phantoms, pipeline)]
    assert np.mean(right) >= 0.7


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_strongest_region_of_a_sick_phantom_is_its_lesion(phantoms, pipeline):
    """The peak lies in a lesion, or no farther from one than a cell of the map."""
    hits = []
    for case, study, mask in of(phantoms, pipeline):
        if study["label"] and case.regions:
            cell = np.array(case.explanation.grid.spacing) / np.array(case.grid.spacing)
            if case.kind == "volume":
                ras = case.grid.position([float(i) for i in case.regions[0].peak])
                distance = [np.linalg.norm(ras * (-1, -1, 1) - one["centre_lps_mm"]) for one in study["lesions"]]
                reach = max(case.explanation.grid.spacing) + max(one["size_mm"] for one in study["lesions"]) / 2
                hits.append(min(distance) <= reach)
            else:
                lesion = np.argwhere(mask)
                off = np.abs(lesion - np.array(case.regions[0].peak)) / np.maximum(cell, 1)
                hits.append(off.max(1).min() <= 1)
    assert len(hits) >= 1
    assert np.mean(hits) >= 0.6, hits


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_healthy_phantoms_are_not_painted(phantoms, pipeline):
    """A display range that is one for all series of a model leaves most of a healthy image uncoloured."""
    for case, study, _ in of(phantoms, pipeline):
        if not study["label"] and case.decision.outcome == "not flagged":
            low, high = case.explanation.display_range
            share = (case.explanation.evidence - low) / (high - low)
            assert (share >= 0.25).mean() < 0.1, study["folder"]
