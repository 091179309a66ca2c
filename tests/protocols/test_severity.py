"""Severity between and within patients: by hand, against a regression, and where the two say the opposite."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from medcam.protocols._severity import correlations, sure


def test_within_patients_the_worse_clip_scores_higher_though_worse_patients_score_lower() -> None:
    # patient a: severities 0 and 1, scores .8 and .9; b: 2 and 3, scores .4 and .5; c: 5, score .1
    found = correlations([0.8, 0.9, 0.4, 0.5, 0.1], [0, 1, 2, 3, 5], list("aabbc"))
    assert found.within.value == pytest.approx(1.0)
    assert found.between.value == pytest.approx(pearsonr([0.85, 0.45, 0.1], [0.5, 2.5, 5]).statistic)
    assert found.clips.value == pytest.approx(pearsonr([0.8, 0.9, 0.4, 0.5, 0.1], [0, 1, 2, 3, 5]).statistic)
    assert found.clips.value < -0.8
    assert found.several == (2, 4)


def test_within_is_what_is_left_when_each_patient_has_an_intercept() -> None:
    """The partial correlation of a regression with a column for each patient."""
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 8, 40)
    severity = rng.integers(0, 4, 40).astype(float)
    score = 0.1 * severity + rng.normal(0, 1, 8)[patients] + rng.normal(0, 0.2, 40)
    own = np.eye(8)[patients]

    def rest(values):
        return values - own @ np.linalg.lstsq(own, values, rcond=None)[0]

    found = correlations(score, severity, [f"p{n}" for n in patients])
    assert found.within.value == pytest.approx(pearsonr(rest(score), rest(severity)).statistic)
    assert found.within.low < found.within.value < found.within.high


def test_where_no_patient_has_clips_of_different_severity_nothing_can_be_said_within() -> None:
    found = correlations([0.1, 0.2, 0.8, 0.9], [0, 0, 3, 3], list("aabb"))
    assert found.within.value is None
    assert found.several == (0, 0)


def test_one_frame_of_twenty_is_left_out() -> None:
    confidence = np.random.default_rng(0).permutation(100) / 100
    kept = sure(confidence)
    assert kept.sum() == 95
    assert confidence[~kept].max() < confidence[kept].min()
    assert sure(np.ones(20)).all()  # none is less sure than another
