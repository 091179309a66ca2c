import numpy as np
import pytest
from sklearn import metrics

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.overall import class_measures, overall


def test_exclusive_classes_equal_scikit_learn_s_also_with_weights() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 4, 90), rng.integers(0, 4, 90)
    predicted = np.where(rng.random(90) < 0.5, true, predicted)
    weights = rng.integers(0, 3, (5, 90)).astype(float)
    found = {name: measure(weights) for name, measure in class_measures(true, predicted, 4).items()}
    for d, w in enumerate(weights):
        assert found["accuracy"][d] == pytest.approx(metrics.accuracy_score(true, predicted, sample_weight=w))
        balanced = metrics.balanced_accuracy_score(true, predicted, sample_weight=w)
        assert found["balanced_accuracy"][d] == pytest.approx(balanced)
        assert found["mcc"][d] == pytest.approx(metrics.matthews_corrcoef(true, predicted, sample_weight=w))


def test_macro_figures_are_means_over_labels() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (60, 3)).astype(float)
    scores = rng.random((60, 3)) + 0.4 * targets
    found = overall(targets, scores, scores > 0.6, Bootstrap([str(i) for i in range(60)], draws=200))
    assert found.macro["auroc"].value == pytest.approx(metrics.roc_auc_score(targets, scores, average="macro"))
    expected = metrics.average_precision_score(targets, scores, average="macro")
    assert found.macro["average_precision"].value == pytest.approx(expected)
    assert found.macro["f1"].value == pytest.approx(metrics.f1_score(targets, scores > 0.6, average="macro"))
    assert found.macro["auroc"].low < found.macro["auroc"].value < found.macro["auroc"].high
    assert found.classes == {}
    assert found.confusion == ()


def test_three_classes_by_hand() -> None:
    targets = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    scores = np.eye(3)[[0, 1, 1, 2, 2, 0]] * 0.8 + 0.1
    found = overall(targets, scores, scores > 0.5, Bootstrap(list("abcdef"), draws=200), exclusive=True)
    assert found.confusion == ((1, 1, 0), (0, 1, 0), (1, 0, 2))
    assert found.classes["accuracy"].value == pytest.approx(4 / 6)
    assert found.classes["balanced_accuracy"].value == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)


def test_a_label_that_nobody_has_is_no_part_of_the_mean() -> None:
    targets = np.array([[0, 0], [0, 1], [0, 1], [0, 0]], dtype=float)
    scores = np.array([[0.1, 0.2], [0.3, 0.8], [0.2, 0.9], [0.9, 0.1]])
    found = overall(targets, scores, scores > 0.5, Bootstrap(list("abcd"), draws=200))
    assert found.labels == 1
    assert found.macro["auroc"].value == 1
