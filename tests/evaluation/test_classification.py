import numpy as np
import pytest

from medcam.evaluation.classification import auroc, interval, wilson, youden


def test_auroc_counts_pairs_and_ties_half() -> None:
    # pairs (sick, healthy): 3>1, 3>2, 2>1, 2=2 -> (3 + 0.5) / 4
    assert auroc([1, 1, 0, 0], [3, 2, 1, 2]) == pytest.approx(3.5 / 4)
    assert auroc([0, 1], [0.1, 0.9]) == 1
    assert auroc([0, 1], [0.9, 0.1]) == 0
    with pytest.raises(ValueError, match="one class"):
        auroc([1, 1], [0.2, 0.3])


def test_auroc_equals_scikit_learn_s() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.integers(0, 9, 200)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_the_bootstrap_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = interval(lambda pick: float(values[pick].mean()), 400)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)


def test_draws_with_one_class_are_left_out() -> None:
    labels, scores = np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3])
    assert interval(lambda pick: auroc(labels[pick], scores[pick]), 3) == (1, 1)


def test_wilson_by_hand() -> None:
    # 8 of 10: (0.8 + 0.19207) / 1.38415 = 0.71674; half 1.95996 * sqrt(0.016 + 0.0096037) / 1.38415 = 0.22657
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-4)
    low, high = wilson(30, 30)
    assert high == pytest.approx(1)
    assert 0.88 < low < 0.89


def test_youden_cuts_midway_between_the_classes() -> None:
    assert youden([0, 0, 1, 1], [0.0, 1.0, 3.0, 4.0]) == 2.0
    # a sick case below a healthy one: best is to give up one of them, specificity 1 and sensitivity 2/3
    assert youden([0, 0, 1, 1, 1], [0.0, 1.0, 0.5, 3.0, 4.0]) == 2.0
