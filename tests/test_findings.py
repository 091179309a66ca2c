"""What is decided and said: thresholds, doubt, places in words."""

import json
from dataclasses import replace

import pytest

from medcam.findings import (
    Case,
    ConformalSet,
    Decision,
    Judged,
    Neighbour,
    Prediction,
    Uncertainty,
    decide,
    plus_minus,
)
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


BOTH = ConformalSet(("no opacity", "opacity"), "opacity", 0.1, 40)
FAR = Judged(2, 0.1, 9.1, 7.0, 0.3, None, True, False, ())


@pytest.mark.parametrize(
    ("score", "members", "outcome", "why"),
    [
        (0.9, ("opacity",), "flagged", "at or above"),
        (0.1, ("no opacity",), "not flagged", "below"),
        (0.9, ("no opacity", "opacity"), "refer", "the 90 % conformal set holds no opacity and opacity"),
        (0.1, ("no opacity", "opacity"), "refer", "the 90 % conformal set holds no opacity and opacity"),
        (0.9, (), "refer", "the 90 % conformal set is empty: no answer fits as it fits the calibration patients"),
        (0.9, ("no opacity",), "refer", "holds only no opacity, but the score is at or above the threshold"),
        (0.1, ("opacity",), "refer", "holds only opacity, but the score is below the threshold"),
        (0.1, ("pneumonia", "oedema"), "not flagged", "below"),  # of a softmax: the finding is excluded all the same
    ],
)
def test_a_conformal_set_that_does_not_say_the_same_refers(score, members, outcome, why):
    prediction = Prediction(
        "opacity", score, 0.0, 0.5, "by hand", conformal_set=ConformalSet(members, "opacity", 0.1, 40)
    )
    found = decide(prediction, Uncertainty("none", {}, None), False)
    assert found.outcome == outcome
    assert why in found.reasons[0]


def test_every_reason_to_refer_is_given_and_goes_before_the_threshold():
    prediction = Prediction("opacity", 0.51, 0.0, 0.5, "by hand", conformal_set=BOTH, support=FAR)
    votes = Uncertainty("ensemble", {"a": 0.51, "b": 0.49, "c": 0.6, "d": 0.7, "e": 0.8}, 0.11, 0.6, 0.5, 0.1)
    found = decide(prediction, votes, demonstration=False)
    assert found.outcome == "refer"
    near, undecided, far, apart = found.reasons
    assert "within one SD (0.110) of the threshold" in near
    assert "holds no opacity and opacity" in undecided
    assert far == "unlike anything trained on: nearest case at 9.1, training range up to 7"
    assert apart == "1 of 5 networks (ensemble) fall on the other side of the threshold"
    assert decide(prediction, votes, demonstration=True).text == "demonstration only"


def test_only_networks_vote():
    clear = Prediction("opacity", 0.9, 0.0, 0.5, "by hand")
    scores = {"1": 0.3, "2": 0.9, "3": 0.95, "4": 0.99}
    assert decide(clear, Uncertainty("augmentation", scores, 0.3), False).outcome == "flagged"
    assert decide(clear, Uncertainty("dropout", scores, 0.3, 0.5, 0.3, 0.2), False).outcome == "refer"
    few = {str(n): 0.9 for n in range(9)} | {"9": 0.3}
    assert decide(clear, Uncertainty("dropout", few, 0.18, 0.5, 0.3, 0.2), False).outcome == "flagged"


def test_too_few_calibration_patients_are_said_with_the_set_and_with_the_reason():
    note = "can never leave out opacity (4): there are too few calibration patients, at least 9 are needed"
    few = replace(BOTH, note=note)
    assert few.text == f"no opacity or opacity; it {note}"
    (why,) = decide(
        Prediction("opacity", 0.1, 0.0, 0.5, "", conformal_set=few), Uncertainty("none", {}, None), False
    ).reasons
    assert why.endswith("holds no opacity and opacity, for want of calibration patients")


def test_support_in_words():
    near = tuple(Neighbour("p", "f", True, n < 3, 1.0) for n in range(5))
    assert replace(FAR, neighbours=near).text == (
        "3 of the 5 nearest training cases agree, outside the training range; support 0.30 (no support is enough)"
    )
    own = replace(FAR, neighbours=near, limit=None, novel=False, trained_on=True, least=1.0)
    assert "training range not known, for want of calibration patients" in own.text
    assert own.text.endswith("this patient's own images were used for training")


def test_cases_of_earlier_versions_are_read_and_new_ones_come_back_whole(tmp_path):
    make_results(tmp_path / "r")
    results = Results.open(tmp_path / "r")
    key = results.keys()[0]
    data = json.loads((results.path(key) / "case.json").read_text())
    for new in ("conformal_set", "support"):
        del data["prediction"][new]
    for new in ("entropy", "aleatoric", "epistemic", "map_agreement"):
        del data["uncertainty"][new]
    whole = results.case(key)
    results.close()
    arrays = {
        name: getattr(whole.explanation, name.split(".")[1]) for name in ("explanation.evidence", "explanation.spread")
    }
    old = Case.from_dict(data, arrays)
    assert old.prediction == whole.prediction
    assert old.prediction.conformal_set is None
    assert old.uncertainty.epistemic is None
    near = (Neighbour("p", "f", True, False, 1.5),)
    learned = replace(whole.prediction, conformal_set=BOTH, support=replace(FAR, neighbours=near))
    again = Prediction.from_dict(json.loads(json.dumps(learned.to_dict())))
    assert again == learned


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
