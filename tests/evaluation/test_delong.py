"""DeLong's variance: the note's numbers, a slow reference from the paper's definition, and what simulations say."""

import numpy as np
import pytest

from medcam.evaluation.delong import area, components, covariance

LABELS, SCORES = np.array([1, 1, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.4, 0.7, 0.3, 0.2])


def slow(labels, scores, patients):
    """Areas and covariance by loops over pairs and patients, from Obuchowski's formulas."""
    sick, healthy = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    m, n = len(sick), len(healthy)
    psi = [[[float(s[i] > s[j]) + 0.5 * float(s[i] == s[j]) for j in healthy] for i in sick] for s in scores]
    areas = [np.mean(one) for one in psi]
    v10, v01 = [np.mean(one, axis=1) for one in psi], [np.mean(one, axis=0) for one in psi]
    people = sorted(set(patients))
    found = np.zeros((len(scores), len(scores)))
    for r in range(len(scores)):
        for q in range(len(scores)):
            s10 = s01 = s11 = s11_turned = 0.0
            for person in people:
                mine = [k for k, i in enumerate(sick) if patients[i] == person]
                others = [k for k, j in enumerate(healthy) if patients[j] == person]
                a = [sum(v10[x][k] for k in mine) - len(mine) * areas[x] for x in (r, q)]
                b = [sum(v01[x][k] for k in others) - len(others) * areas[x] for x in (r, q)]
                s10, s01 = s10 + a[0] * a[1], s01 + b[0] * b[1]
                s11, s11_turned = s11 + a[0] * b[1], s11_turned + a[1] * b[0]
            with_sick = len({patients[i] for i in sick})
            with_healthy = len({patients[j] for j in healthy})
            s10 *= with_sick / ((with_sick - 1) * m)
            s01 *= with_healthy / ((with_healthy - 1) * n)
            s11, s11_turned = (x * len(people) / (len(people) - 1) for x in (s11, s11_turned))
            found[r, q] = s10 / m + s01 / n + (s11 + s11_turned) / (m * n)
    return np.array(areas), found


def test_the_example_of_three_and_three() -> None:
    v10, v01 = components(LABELS, SCORES)
    assert v10 == pytest.approx([1, 1, 2 / 3])
    assert v01 == pytest.approx([2 / 3, 1, 1])
    areas, matrix = covariance(LABELS, SCORES[None])
    assert areas[0] == pytest.approx(0.888889, abs=1e-6)
    assert matrix[0, 0] == pytest.approx(0.0246914, abs=1e-7)
    found = area(LABELS, SCORES)
    # logit(8/9) = 2.0794; half width 1.96 x 0.157135 / (8/81) = 3.1183
    assert (found.low, found.high) == pytest.approx((1 / (1 + np.exp(1.0389)), 1 / (1 + np.exp(-5.1977))), abs=2e-4)
    assert found.method == "DeLong"


def test_it_equals_the_slow_reference_with_ties_and_several_images_of_a_patient() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 40), rng.integers(0, 7, (3, 40)).astype(float)
    for patients in ([f"p{i}" for i in range(40)], [f"p{i}" for i in rng.integers(0, 12, 40)]):
        for ours, theirs in zip(covariance(labels, scores, patients), slow(labels, scores, patients), strict=True):
            assert np.allclose(ours, theirs, rtol=1e-10)


def test_one_image_per_patient_is_delong_s_own_formula() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 50), rng.normal(0, 1, (2, 50))
    parts = [components(labels, row) for row in scores]
    expected = sum(np.cov([part[side] for part in parts]) / len(parts[0][side]) for side in (0, 1))
    assert np.allclose(covariance(labels, scores)[1], expected)
    shuffled = rng.permutation(50).astype(str)
    assert np.allclose(covariance(labels, scores, shuffled)[1], expected)


def test_by_patient_it_is_the_variance_over_repeated_studies() -> None:
    """300 studies of 30 patients with 6 images each, half of them sick whatever the patient; alike within a patient."""
    areas, by_patient, by_image = [], [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(30), 6)
        labels = ((np.arange(30) % 3 == 0)[patients] | (rng.random(180) < 0.15)).astype(int)
        scores = labels + rng.normal(0, 1, 30)[patients] + rng.normal(0, 0.5, 180)
        found, matrix = covariance(labels, scores[None], patients.astype(str))
        areas.append(found[0])
        by_patient.append(matrix[0, 0])
        by_image.append(covariance(labels, scores[None])[1][0, 0])
    assert np.mean(by_patient) == pytest.approx(np.var(areas), rel=0.15)
    assert np.mean(by_image) < 0.5 * np.var(areas)


def test_where_no_interval_can_be_given() -> None:
    assert area([1, 1], [1, 2]).value is None
    perfect = area([0, 0, 1, 1], [1, 2, 3, 4])
    assert (perfect.value, perfect.low, perfect.high) == (1, None, None)
    one_sick_patient = area([1, 1, 0, 0], [1, 3, 2, 0], ["a", "a", "b", "c"])
    assert one_sick_patient.value == 0.75
    assert one_sick_patient.low is None
