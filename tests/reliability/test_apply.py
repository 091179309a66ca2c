"""What a bundle's blobs do to a prediction, and what they leave alone."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from medcam.errors import ModelError
from medcam.findings import Prediction, Uncertainty, decide
from medcam.models import load_bundle
from medcam.reliability import calibration, conformal, support
from medcam.reliability.apply import Reliability, uncertainty
from medcam.reliability.calibration import Calibration
from medcam.reliability.conformal import Conformal
from medcam.reliability.isotonic import Steps
from medcam.reliability.judging import Judge
from medcam.reliability.support import Examples, Support
from medcam.reliability.thresholds import Threshold
from tests.stand_ins import save_stand_in

SCALED = Calibration(
    "single-logit", (0.5,), (-1.0,), (0.3,), 120, 240,
    thresholds=(Threshold(0.41, "Youden on 120 calibration patients", (0.3, 0.5), 0.9, 0.8),),
)  # fmt: skip
SETS = Conformal("single-logit", ("opacity",), 0.1, "lac", True, ((0.6, 0.7),), ((80, 40),))
PLAIN = Prediction("opacity", float(expit(2.0)), 2.0, 0.5, "by hand")


def cases():
    rng = np.random.default_rng(0)
    y = np.repeat([0.0, 1.0], 30)[:, None]
    h = rng.normal(0, 1, (60, 3)) + 3 * y
    return Examples(h, 0.1 + 0.8 * y, y, [f"p{i}" for i in range(60)], [f"f{i}" for i in range(60)])


def saved(folder, **blobs):
    """A bundle with these blobs."""
    names = {"calibration": calibration.BLOB, "conformal": conformal.BLOB, "support": support.BLOB}
    contents = {names[name]: value if isinstance(value, bytes) else value.to_bytes() for name, value in blobs.items()}
    return load_bundle(save_stand_in(folder, "chest_xray_opacity", blobs=contents))


def test_a_bundle_without_blobs_has_none_of_it(tmp_path):
    found = Reliability.of(saved(tmp_path / "plain"))
    assert (found.calibration, found.conformal, found.support) == (None, None, None)
    assert found.judged(PLAIN, [2.0], 0) == PLAIN
    assert found.cut(0) == (0.5, "set by hand")


def test_score_threshold_set_and_support_are_on_the_calibrated_scale(tmp_path):
    known = Support.fit(cases(), cases(), [0.41], layer="x", salt="s")
    found = Reliability.of(saved(tmp_path / "whole", calibration=SCALED, conformal=SETS, support=known))
    assert found is not None
    feature = np.array([3.0, 3.0, 3.0])
    judged = found.judged(PLAIN, [2.0], 0, feature=feature, patient="p40")
    assert judged.score == pytest.approx(expit(0.5 * 2 - 1))
    assert judged.logit == 2.0
    assert judged.score_name == "calibrated probability"
    assert (judged.threshold, judged.threshold_origin) == (0.41, "Youden on 120 calibration patients")
    assert judged.conformal_set == SETS.set_of([0.5])
    assert judged.support == known.judge(feature, 0.5, patient="p40")
    assert judged.support.trained_on


def test_parts_are_calibrated_by_the_same_map():
    slide = Prediction("tumour", 0.5, 0.0, 0.5, "by hand", part_scores=(0.1, 0.9), pooling="mean")
    judged = Reliability("single-logit", SCALED).judged(slide, [0.4], 0, parts=[[-1.0], [3.0]])
    assert judged.part_scores == pytest.approx(tuple(expit([-1.5, 0.5])))
    assert judged.score == pytest.approx(expit(0.2 - 1))


def test_without_thresholds_of_its_own_the_cards_holds():
    judged = Reliability("single-logit", Calibration("single-logit", (0.5,), (-1.0,), (0.3,), 9, 9)).judged(
        PLAIN, [2.0], 0
    )
    assert judged.threshold == 0.5
    assert judged.score == pytest.approx(0.5)


def test_a_set_without_a_calibration_leaves_the_score_uncalibrated():
    judged = Reliability("single-logit", conformal=SETS).judged(PLAIN, [2.0], 0)
    assert (judged.score, judged.score_name) == (PLAIN.score, "uncalibrated score")
    assert judged.conformal_set == SETS.set_of([expit(2.0)])
    assert judged.support is None


def test_a_label_that_could_not_be_calibrated_keeps_its_name():
    half = Calibration("sigmoid", (0.5, 1.0), (-1.0, 0.0), (0.3, 0.0), 9, 9)
    found = Reliability("sigmoid", half)
    assert found.judged(PLAIN, [2.0, 1.0], 0).score_name == "calibrated probability"
    second = found.judged(PLAIN, [2.0, 1.0], 1)
    assert second.score_name == "uncalibrated score"
    assert second.score == pytest.approx(expit(1.0))


def test_of_a_softmax_the_temperature_works_on_all_logits():
    warm = Calibration("softmax", (0.5,) * 3, (0.0,) * 3, (0.4, 0.3, 0.3), 9, 9)
    z = np.array([1.0, 2.0, -1.0])
    expected = np.exp(z / 2)[1] / np.exp(z / 2).sum()
    assert Reliability("softmax", warm).judged(PLAIN, z, 1).score == pytest.approx(expected)


def test_steps_reach_the_prediction_of_a_saved_bundle(tmp_path):
    steps = Steps((-1.0, 1.0, 2.0), (0.1, 0.5, 0.9))
    cut = Threshold(0.4, "Youden", (0.3, 0.5), 0.9, 0.8)
    learned = Calibration("single-logit", (1.0,), (0.0,), (0.3,), 120, 240, thresholds=(cut,), steps=(steps,))
    found = Judge(saved(tmp_path / "steps", calibration=learned))
    for z, expected in ((-7.0, 0.1), (0.0, 0.3), (1.5, 0.7), (30.0, 0.9)):
        prediction = found.prediction(torch.tensor([[z]]), 0)
        assert prediction.score == pytest.approx(expected)
        assert decide(prediction, Uncertainty("none", {}, None), False).outcome == (
            "flagged" if expected >= 0.4 else "not flagged"
        )


@pytest.mark.parametrize(
    "blobs",
    [
        {"calibration": b"{}"},
        {"calibration": b"no json"},
        {"conformal": b'{"alpha": 0.1}'},
        {"support": b"nonsense"},
        {"calibration": Calibration("single-logit", (1.0,), (0.0,), (0.5,), 9, 9, steps=(None, None))},
        {"calibration": Calibration("sigmoid", (1.0, 1.0), (0.0, 0.0), (0.5, 0.5), 9, 9)},
    ],
)
def test_damaged_blobs_and_those_of_other_labels_are_refused(tmp_path, blobs):
    bundle = saved(tmp_path / "b", **blobs)
    with pytest.raises(ModelError, match=r"bundle-reliability|bundle-support"):
        Reliability.of(bundle)


def test_doubt_is_parted_for_networks_only_and_maps_are_compared():
    scores = {"a": 0.9, "b": 0.7, "c": 0.8}
    cells = np.array([[[4.0, 0.0]], [[4.0, 0.0]], [[0.0, 4.0]]], np.float32)
    found = uncertainty("dropout", scores, networks=True, cells=cells)
    assert found.score_sd == pytest.approx(0.081650, abs=1e-6)
    assert (found.entropy, found.aleatoric, found.epistemic) == pytest.approx((0.500402, 0.478783, 0.021619), abs=1e-6)
    assert found.map_agreement == pytest.approx(1 / 3)
    changed = uncertainty("augmentation", scores, networks=False)
    assert (changed.entropy, changed.epistemic, changed.map_agreement) == (None, None, None)
    assert changed.name == "augmentation variability"


def test_probabilities_of_tensors_and_arrays_are_one():
    z = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)
    np.testing.assert_allclose(Reliability("single-logit", SCALED).probability(z), SCALED.probability(z.numpy()))
