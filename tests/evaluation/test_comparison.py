"""Two models: against scipy's exact test, against drawing, and what must be so by symmetry."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.comparison import compare, delong, mcnemar


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (3, 9), (12, 12), (0, 6), (40, 61)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(only_first, only_second) -> None:
    first = [True] * only_first + [False] * only_second + [True] * 5 + [False] * 3
    second = [False] * only_first + [True] * only_second + [True] * 5 + [False] * 3
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second, found.cases) == (only_first, only_second, len(first))
    number = only_first + only_second
    assert found.p == pytest.approx(binomtest(only_first, number).pvalue if number else 1.0)
    assert found.method == "exact McNemar"


def test_with_several_images_of_a_patient_all_signs_are_counted() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{i}" for i in rng.integers(0, 9, 60)]
    first, second = rng.random(60) < 0.8, rng.random(60) < 0.6
    net = [sum(int(first[i]) - int(second[i]) for i in range(60) if patients[i] == p) for p in sorted(set(patients))]
    sums = [abs(sum(s * d for s, d in zip(signs, net, strict=True))) for signs in itertools.product((1, -1), repeat=9)]
    assert mcnemar(first, second, patients).p == pytest.approx(np.mean([s >= abs(sum(net)) for s in sums]))


def test_ten_images_of_one_patient_are_not_ten_patients() -> None:
    first, second = np.ones(10, bool), np.zeros(10, bool)
    assert mcnemar(first, second).p == pytest.approx(2 / 1024)
    assert mcnemar(first, second, ["one"] * 10).p == 1


def two_models(seed=2, patients=80):
    rng = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    shared = rng.normal(0, 1, patients)
    return labels, labels + shared + rng.normal(0, 0.5, patients), 0.6 * labels + shared + rng.normal(0, 0.5, patients)


def test_delong_s_interval_of_a_difference_is_about_that_of_the_bootstrap() -> None:
    labels, first, second = two_models()
    names = [str(i) for i in range(80)]
    both = compare("x", labels, first, second, (first > 0.5, second > 0.5), names, Bootstrap(names))
    assert both.difference.value == pytest.approx(both.first - both.second)
    assert both.difference_bootstrap.value == pytest.approx(both.difference.value)
    assert both.difference.low == pytest.approx(both.difference_bootstrap.low, abs=0.015)
    assert both.difference.high == pytest.approx(both.difference_bootstrap.high, abs=0.015)
    assert both.correct_sick.cases == both.correct_healthy.cases == 40
    assert both.correct.only_first == both.correct_sick.only_first + both.correct_healthy.only_first


def test_models_are_exchangeable_and_a_model_is_as_good_as_itself() -> None:
    labels, first, second = two_models()
    one, p = delong(labels, first, second)
    two, q = delong(labels, second, first)
    assert (one.value, one.low, one.high) == pytest.approx((-two.value, -two.high, -two.low))
    assert p == pytest.approx(q)
    same, p = delong(labels, first, 3 * first - 1)  # the same order
    assert (same.value, p) == (0, 1)


def test_equal_models_look_different_as_often_as_five_per_cent_say() -> None:
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = np.arange(80) % 2
        shared = labels + rng.normal(0, 1, 80)
        found.append(delong(labels, shared + rng.normal(0, 1, 80), shared + rng.normal(0, 1, 80))[1])
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_one_class_only_has_no_difference() -> None:
    estimate, p = delong([1, 1], [1, 2], [2, 1])
    assert estimate.value is None
    assert p is None
