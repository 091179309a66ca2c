"""Rising steps: by hand, against scikit-learn, on planted curves, and who may choose them."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.isotonic import IsotonicRegression

from medcam.errors import UsageError
from medcam.reliability import conformal
from medcam.reliability.calibration import Calibration, against_others, fit
from medcam.reliability.choice import FOLDS, brier, choose
from medcam.reliability.isotonic import Steps, refuse_few


def test_five_images_by_hand():
    """Three with the label: smoothed to 4/5 and 1/4. The second and third are the wrong way round and share a step."""
    steps = Steps.fit([-2, -1, 0, 1, 2], [0, 1, 0, 1, 1])
    assert steps.logits == (-2, -1, 0, 1, 2)
    assert steps.probabilities == pytest.approx((0.25, 0.525, 0.525, 0.8, 0.8))
    assert steps.count == 3
    # level beyond the ends and within a step, straight between two
    assert steps.at([-9, -2, -1.5, -0.5, 0.5, 1.7, 9]) == pytest.approx([0.25, 0.25, 0.3875, 0.525, 0.6625, 0.8, 0.8])


def test_equal_logits_share_a_step_and_a_step_keeps_its_ends_only():
    # at 0: one of three (0.75, 0.2, 0.2: mean 1.15/3); at 1 nobody: pooled with it to 1.35/4; at 2: 0.75
    steps = Steps.fit([0, 0, 0, 1, 2], [1, 0, 0, 0, 1])
    assert steps.logits == (0, 1, 2)
    assert steps.probabilities == pytest.approx((1.35 / 4, 1.35 / 4, 0.75))


def test_the_order_is_the_wrong_way_round_so_there_is_one_step():
    steps = Steps.fit([0, 1, 2, 3], [1, 1, 0, 0])
    assert steps.count == 1
    assert steps.probabilities[0] == pytest.approx(0.5)


def test_scikit_learn_finds_the_same_curve():
    rng = np.random.default_rng(0)
    z = np.round(rng.normal(0, 2, 400), 1)  # with ties
    y = (rng.random(400) < expit(z)).astype(float)
    soft = np.where(y > 0, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    other = IsotonicRegression(out_of_bounds="clip").fit(z, soft)
    new = np.linspace(-9, 9, 700)
    np.testing.assert_allclose(Steps.fit(z, y).at(new), other.predict(new), atol=1e-12)


def planted(count, seed):
    """Two images of each patient; the label is as likely as a curve says that no scaling can follow."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-4, 4, (count, 1))
    p = np.where(z < -2, 0.05, np.where(z < 2, 0.45, 0.55)) + 0.35 * (z > 3)
    return z, (rng.random((count, 1)) < p).astype(float), [f"p{i // 2}" for i in range(count)], p


def test_where_the_curve_has_steps_they_are_found_and_chosen():
    z, y, patients, _ = planted(3000, 0)
    new, _, _, true = planted(1000, 1)
    steps, scaled = (fit(z, y, "single-logit", patients=patients, kind=kind) for kind in ("isotonic", "scaling"))
    off = [float(np.abs(found.probability(new) - true).mean()) for found in (steps, scaled)]
    assert off[0] < 0.03 < 0.06 < off[1]
    assert steps.kind == "isotonic"
    found = choose(z, y, "single-logit", patients)
    assert found.steps == steps.steps
    assert "isotonic, by the lower Brier score over 5 folds" in found.origin
    told = found.figures
    assert told["cross-validated Brier score, isotonic"] < told["cross-validated Brier score, scaling"]


def test_where_scaling_is_true_it_is_kept_though_steps_fit_their_own_patients_better():
    rng = np.random.default_rng(3)
    z = rng.normal(0, 2, (240, 1))
    y = (rng.random((240, 1)) < expit(0.6 * z + 0.3)).astype(float)
    patients = [f"p{i}" for i in range(240)]
    own = {
        kind: ((fit(z, y, "single-logit", patients=patients, kind=kind).probability(z) - y) ** 2).mean()
        for kind in ("scaling", "isotonic")
    }
    assert own["isotonic"] < own["scaling"]  # what choosing on the same patients would have said
    found = choose(z, y, "single-logit", patients)
    assert found.kind == "scaling"
    assert found.scale == fit(z, y, "single-logit").scale


def test_images_of_a_patient_never_judge_steps_that_were_fitted_to_them():
    """Each patient's four images are alike and the labels are noise: by image the steps would seem to know something."""
    rng = np.random.default_rng(0)
    z = np.repeat(rng.normal(0, 1, 150), 4)[:, None]
    y = np.repeat(rng.integers(0, 2, 150), 4)[:, None].astype(float)
    by_image, by_patient = (
        brier(z, y, "single-logit", [f"p{i // each}" for i in range(600)], "isotonic") for each in (1, 4)
    )
    assert by_image < 0.245 < 0.25 < by_patient  # a coin's is 0.25
    assert FOLDS == 5


@pytest.mark.parametrize(("sick", "healthy", "said"), [(24, 200, "not 224, 24 and 200"), (40, 50, "not 90, 40 and 50")])
def test_too_few_patients_are_refused_and_auto_scales_them(sick, healthy, said):
    count = sick + healthy
    y = (np.arange(count) < sick).astype(float)[:, None]
    z, patients = y + np.random.default_rng(0).normal(0, 1, (count, 1)), [f"p{i}" for i in range(count)]
    with pytest.raises(UsageError, match=said) as refused:
        fit(z, y, "single-logit", patients=patients, kind="isotonic", labels=["opacity"])
    assert refused.value.code == "too-few-patients"
    assert "without opacity" in str(refused.value)
    assert "--calibration scaling" in str(refused.value)
    found = choose(z, y, "single-logit", patients, ["opacity"])
    assert found.kind == "scaling"
    assert "too few" in found.origin


def test_many_images_of_few_patients_are_few():
    y = np.tile([0.0, 1.0], 500)[:, None]
    with pytest.raises(UsageError, match="not 20, 20 and 20"):
        refuse_few(y, [f"p{i // 50}" for i in range(1000)])
    refuse_few(np.ones((4, 1)), list("abcd"))  # nothing to learn, so nothing is fitted


def test_classes_get_steps_each_and_add_up_to_one():
    rng = np.random.default_rng(5)
    z = rng.normal(0, 2, (900, 3))
    true = (rng.random((900, 1)) < softmax(0.5 * z, axis=1).cumsum(axis=1)).argmax(axis=1)
    y = np.eye(3)[true]
    found = fit(z, y, "softmax", patients=[f"p{i}" for i in range(900)], kind="isotonic")
    p = found.probability(z)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    others = np.log(softmax(z, axis=1)) - np.log1p(-softmax(z, axis=1))
    np.testing.assert_allclose(against_others(z), others, atol=1e-9)
    each = np.stack([Steps.fit(others[:, k], y[:, k]).at(others[:, k]) for k in range(3)], axis=1)
    np.testing.assert_allclose(p, each / each.sum(axis=1, keepdims=True), atol=1e-9)
    nll = [-np.log(q[np.arange(900), true]).mean() for q in (p, softmax(z, axis=1))]
    assert nll[0] < nll[1]  # the logits were twice too bold


def test_a_label_that_nobody_has_stays_as_it_was_and_all_of_it_goes_to_json_and_back():
    rng = np.random.default_rng(6)
    z = rng.normal(0, 1, (300, 2))
    y = np.stack([(rng.random(300) < expit(z[:, 0])).astype(float), np.zeros(300)], axis=1)
    found = fit(z, y, "sigmoid", patients=[f"p{i}" for i in range(300)], kind="isotonic")
    assert found.steps[1] is None
    np.testing.assert_allclose(found.probability(z)[:, 1], expit(z[:, 1]))
    assert Calibration.from_bytes(found.to_bytes()) == found
    swapped = found.of([1, 0])
    np.testing.assert_allclose(swapped.probability(z[:, ::-1]), found.probability(z)[:, ::-1])


def test_another_prevalence_shifts_the_odds_of_every_step():
    learned = Calibration("single-logit", (1.0,), (0.0,), (0.5,), 9, 9, steps=(Steps((-1.0, 1.0), (0.2, 0.8)),))
    rarer = learned.shift_prior([0.1])
    # odds of 0.2 are 1/4, of 0.8 are 4; the prior's odds fall from 1 to 1/9
    assert rarer.probability([[-1.0], [1.0]])[:, 0] == pytest.approx([(1 / 36) / (1 + 1 / 36), (4 / 9) / (1 + 4 / 9)])


def test_conformal_sets_hold_the_truth_of_unseen_patients_after_steps():
    """Steps were fitted to the very patients the sets were, and change no order but for ties."""
    rng, held = np.random.default_rng(7), []
    for _ in range(200):
        y = (rng.random((240, 1)) < 0.5).astype(float)
        z = 1.5 * (y - 0.5) + rng.normal(0, 1, (240, 1))
        names = [f"p{i}" for i in range(120)]
        learned = fit(z[:120], y[:120], "single-logit", patients=names, kind="isotonic")
        p = learned.probability(z)
        sets = conformal.fit(p[:120], y[:120], names, 0.1, head="single-logit", labels=["a"])
        answers = [sets.set_of(row).members for row in p[120:]]
        held.append(np.mean([("a" if true else "no a") in own for own, true in zip(answers, y[120:, 0], strict=True)]))
    assert np.mean(held) > 0.9 - 3 * np.std(held) / np.sqrt(len(held))
