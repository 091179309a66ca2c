import numpy as np
import pytest

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.training._cases import case_auroc


def data(targets, patients, exams, labelling):
    targets = np.array(targets, np.float32).reshape(len(patients), -1)
    return Images.of(np.zeros((len(patients), 1, 2, 2)), targets, patients, labelling, exams)


def test_a_long_cine_is_one_case():
    patients, exams = list("aaaaabcd"), ["a1", "a1", "a1", "a1", "a2", "b", "c", "d"]
    told = data([1, 1, 1, 1, 1, 1, 0, 0], patients, exams, Labelling.binary("x", ["1"], ["0"]))
    p = np.array([0.9, 0.1, 0.1, 0.1, 0.9, 0.6, 0.2, 0.7])  # by exam: a1 .3, a2 .9, b .6 against c .2, d .7
    logits = np.log(p / (1 - p))[:, None]
    assert case_auroc(logits, told, "image") == pytest.approx((2 + 2 + 1 + 3 * 0) / 12)
    assert case_auroc(logits, told, "exam") == pytest.approx((1 + 2 + 1) / 6)
    assert case_auroc(logits, told, "patient") == pytest.approx((1 + 1) / 4)  # a .46, b .6


def test_mean_over_the_labels_that_tell_cases_apart():
    labelling = Labelling.multilabel(["one", "other", "always"])
    told = data([[1, 0, 1], [1, 1, 1], [0, 0, 1], [0, 1, 1]], list("abcd"), list("abcd"), labelling)
    logits = np.array([[2, 0, 0], [1, -1, 5], [0, 0, 0], [-1, 1, 9]], float)
    assert case_auroc(logits, told, "exam") == pytest.approx((1.0 + 0.5) / 2)
    nothing = data([[1, 1, 1], [1, 1, 1]], list("ab"), list("ab"), labelling)
    assert case_auroc(np.zeros((2, 3)), nothing, "exam") is None


def test_classes_are_ranked_by_their_share():
    told = data(np.eye(3), list("abc"), list("abc"), Labelling.classes({"a": ["a"], "b": ["b"], "c": ["c"]}))
    assert case_auroc(np.array([[5.0, 0, 0], [9, 10, 0], [0, 0, 1]]), told, "exam") == 1.0  # 9 of 9 and 10 is not "a"
