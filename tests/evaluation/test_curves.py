import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.classification import Ranked, auroc
from medcam.evaluation.curves import GRID, precision_recall, risk_by_coverage, roc


def world(patients=120):
    rng = np.random.default_rng(0)
    labels = np.arange(patients) % 2
    return labels, np.round(labels + rng.normal(0, 1, patients), 1), [str(i) for i in range(patients)]


def test_roc_is_scikit_learn_s_at_every_specificity() -> None:
    labels, scores, names = world()
    curve = roc(Ranked(labels, scores), Bootstrap(names, draws=200))
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    highest = [max(t for f, t in zip(fpr, tpr, strict=True) if f <= x + 1e-12) for x in fpr]
    for x, y in zip(fpr, highest, strict=True):
        assert np.interp(x, curve.x, curve.y) >= y - 0.06  # 101 points of it
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(auroc(labels, scores), abs=0.01)
    assert all(low <= y <= high for low, y, high in zip(curve.low, curve.y, curve.high, strict=True))


def test_precision_at_each_sensitivity_is_that_of_the_first_cut_that_reaches_it() -> None:
    labels, scores, names = world()
    curve = precision_recall(Ranked(labels, scores), Bootstrap(names, draws=200))
    precision, recall, _ = precision_recall_curve(labels, scores)
    for x, y in zip(curve.x[1:], curve.y[1:], strict=True):
        reached = [i for i in range(len(recall)) if recall[i] >= x - 1e-12]  # cuts rise along the arrays
        assert y == pytest.approx(precision[reached[-1]], abs=1e-5)


def test_the_band_of_four_times_the_patients_is_half_as_wide() -> None:
    widths = []
    for patients in (640, 2560):
        labels, scores, names = world(patients)
        curve = roc(Ranked(labels, scores), Bootstrap(names, draws=200))
        widths.append(np.subtract(curve.high, curve.low)[20:80].mean())
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)  # the square root of 4


def test_one_class_has_no_curve() -> None:
    ranked, bootstrap = Ranked([1, 1], [0.1, 0.2]), Bootstrap(["a", "b"], draws=200)
    assert roc(ranked, bootstrap) is None
    assert precision_recall(ranked, bootstrap) is None


def test_risk_over_coverage_by_hand() -> None:
    curve = risk_by_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
    assert curve.x == (0.25, 0.5, 0.75, 1.0)
    assert curve.y == pytest.approx((0, 0, 1 / 3, 1 / 4))
    many = risk_by_coverage(np.arange(5000), np.ones(5000))
    assert len(many.x) <= len(GRID)
    assert many.x[-1] == 1
