"""What is decided and said: thresholds, doubt, places in words."""

import pytest

from medcam.findings import Decision, Prediction, Uncertainty, decide, plus_minus
from medcam.results import Results
from tests.results_maker import make_results


def decision(score, sd=None, threshold=0.5, demonstration=False):
    prediction = Prediction("opacity", score, 0.0, threshold, "set by hand")
    return decide(prediction, Uncertainty("augmentation", {}, sd), demonstration)


@pytest.mark.parametrize(
    ("score", "sd", "outcome"),
    [
        (0.50, None, "flagged"),  # at the threshold
        (0.4999, None, "not flagged"),
        (0.50, 0.0, "flagged"),  # measured, and nothing moved
        (0.51, 0.02, "refer"),
        (0.49, 0.02, "refer"),
        (0.52, 0.02, "flagged"),  # exactly one SD away
        (0.53, 0.02, "flagged"),
        (0.47, 0.02, "not flagged"),
        (1.0, 0.4, "flagged"),
        (0.0, 0.4, "not flagged"),
    ],
)
def test_flagged_from_the_threshold_on_and_referred_within_one_sd(score, sd, outcome):
    assert decision(score, sd).outcome == outcome


def test_the_words_never_contradict_the_decision():
    below = decision(0.4999999)
    assert below.outcome == "not flagged"
    (why,) = below.reasons
    assert "below the threshold" in why
    score, threshold = why.split()[2], why.split()[-1]
    assert float(score) < float(threshold)
    (why,) = decision(0.51, 0.02).reasons
    assert why == "uncalibrated score 0.510 is within one SD (0.020) of the threshold 0.500"


def test_a_demonstration_decides_nothing_and_nobody_is_called_normal():
    assert decision(0.9, demonstration=True).text == "demonstration only"
    assert decision(0.9, demonstration=True).outcome == "flagged"
    for outcome in ("flagged", "not flagged", "refer"):
        assert "normal" not in Decision(outcome, ()).text


def test_a_score_with_its_spread():
    assert plus_minus(0.71234, 0.0456) == "0.712 ± 0.046"
    assert plus_minus(0.71234, None) == "0.712"
    assert plus_minus(0.71234, 0.0, 1) == "0.7 ± 0.0"


def test_places_in_the_words_of_each_modality(tmp_path):
    make_results(tmp_path / "r")
    results = Results.open(tmp_path / "r")
    where = {}
    for key in [row["key"] for row in results.rows()]:
        case = results.case(key)
        where[case.kind] = case.where
    results.close()
    assert where["image"] == "row 67, column 56, 22 x 18 mm at the detector"
    assert where["volume"] == "slices 7-8, peak 8, row 36, column 45, 10 x 16 x 20 mm"
    assert where["cine"].startswith("0.2-0.4 s, frames 6-7, peak 7, row 33, column 45")
    assert where["slide"].startswith("row 144, column 144")
    assert "detector" not in where["slide"]
