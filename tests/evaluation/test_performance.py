import numpy as np
import pytest

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.classification import wilson
from medcam.evaluation.performance import Performance, difference, performance, proportion


def test_ten_patients_by_hand() -> None:
    targets = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    scores = [0.9, 0.8, 0.5, 0.2, 0.7, 0.4, 0.3, 0.2, 0.1, 0.0]
    found = performance("opacity", targets, scores, [str(i) for i in range(10)], 0.5, "by hand")
    assert (found.tp, found.fp, found.tn, found.fn) == (3, 1, 5, 1)  # at the threshold counts as above it
    assert (found.positives, found.positive_patients, found.negative_patients) == (4, 4, 6)
    # pairs: 0.9 and 0.8 win 6 each, 0.5 wins 5, 0.2 wins 2 and ties 1
    assert found.auroc.value == found.auroc_delong.value == pytest.approx(19.5 / 24)
    values = {name: one.value for name, one in found.at_threshold.items()}
    assert values["sensitivity"] == values["precision"] == 0.75
    assert values["specificity"] == values["negative_predictive_value"] == pytest.approx(5 / 6)
    assert values["f1"] == 0.75
    assert values["mcc"] == pytest.approx((3 * 5 - 1) / np.sqrt(4 * 6 * 4 * 6))
    assert values["balanced_accuracy"] == pytest.approx((0.75 + 5 / 6) / 2)
    assert values["accuracy"] == 0.8
    assert (found.sensitivity_wilson.low, found.sensitivity_wilson.high) == wilson(3, 4)
    assert found.statements[0].startswith("4 patients with opacity can never show a sensitivity of 95 %")
    assert Performance.from_dict(found.to_dict()) == found


def test_every_value_lies_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 120)
    found = performance("x", targets, targets + rng.normal(0, 1, 120), [str(i // 2) for i in range(120)], 0.5)
    for one in (found.auroc, found.auroc_delong, found.average_precision, *found.at_threshold.values()):
        assert one.low < one.value < one.high


def test_several_images_of_a_patient_make_the_interval_of_a_share_that_of_patients() -> None:
    targets, scores = np.ones(40), np.array([1] * 30 + [0] * 10)
    found = performance("x", targets, scores, [str(i // 4) for i in range(40)], 0.5)
    assert found.sensitivity_wilson.value == 0.75
    assert (found.sensitivity_wilson.low, found.sensitivity_wilson.high) == wilson(7.5, 10)
    assert found.sensitivity_wilson.method == "Wilson by number of patients"


def test_one_class_only_says_what_can_be_said() -> None:
    found = performance("x", [1, 1, 1], [0.9, 0.8, 0.1], ["a", "b", "c"], 0.5)
    assert found.auroc.value is None
    assert found.auroc.discarded == 2000
    assert found.average_precision.value is None
    assert found.at_threshold["sensitivity"].value == pytest.approx(2 / 3)
    assert found.at_threshold["specificity"].value is None
    assert "No patient without x: nothing can be said about specificity." in found.statements


def test_a_perfect_separation_is_said_to_have_no_honest_interval() -> None:
    targets = np.array([0] * 20 + [1] * 20)
    found = performance("x", targets, targets * 0.8, [str(i) for i in range(40)], 0.5)
    assert found.auroc.value == 1
    assert any("no interval of the AUROC shows its doubt" in said for said in found.statements)
    assert found.sensitivity_wilson.low == pytest.approx(wilson(20, 20)[0])
    assert found.at_threshold["sensitivity"].low is None  # which is why Wilson's is there


def test_decisions_of_another_kind_and_shared_draws() -> None:
    patients = ["a", "b", "c", "d"]
    bootstrap = Bootstrap(patients, draws=200)
    found = performance(
        "x",
        [1, 0, 1, 0],
        [0.9, 0.8, 0.4, 0.1],
        patients,
        0.5,
        flagged=np.array([1, 0, 1, 0], bool),
        bootstrap=bootstrap,
    )
    assert (found.tp, found.fp, found.tn, found.fn) == (2, 0, 2, 0)
    assert found.auroc.draws + found.auroc.discarded == 200


def test_difference_of_two_proportions_is_newcombe_s_example() -> None:
    found = difference(proportion(56, 70, 70), proportion(48, 80, 80))  # Newcombe 1998, method 10, example (a)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    none = difference(proportion(10, 10, 10), proportion(20, 20, 20))  # drawing would give no width at all
    assert (none.low, none.high) == pytest.approx((-0.2775, 0.1611), abs=5e-5)
