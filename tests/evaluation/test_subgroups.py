import numpy as np
import pytest

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.classification import auroc, wilson
from medcam.evaluation.subgroups import FEW, age_band, attributes, subgroups


@pytest.mark.parametrize(
    ("cell", "band"),
    [
        ("17", "0 to 17"),
        ("18", "18 to 39"),
        ("39.9", "18 to 39"),
        ("060Y", "60 to 79"),
        ("80", "80 and over"),
        ("018M", "0 to 17"),
        ("0220M", "18 to 39"),  # 18.3 years
        (" 45 ", "40 to 59"),
        ("411", "not stated"),
        ("", "not stated"),
        ("adult", "not stated"),
    ],
)
def test_age_bands(cell, band) -> None:
    assert age_band(cell) == band


def test_what_is_known_decides_what_is_looked_at() -> None:
    columns = {"Sex": ["F", "M", ""], "age": ["10", "70", "71"], "view_or_probe": ["PA"] * 3, "note": ["a", "b", "c"]}
    assert attributes(columns) == {"sex": ["F", "M", "not stated"], "age": ["0 to 17", "60 to 79", "60 to 79"]}


def world(worse_in_men: float, patients: int = 240):
    rng = np.random.default_rng(5)
    men = np.arange(patients) % 2 == 1
    sick = (np.arange(patients) // 2) % 2 == 1
    scores = 2.5 * sick * np.where(men, worse_in_men, 1.0) + rng.normal(0, 1, patients)
    names = [str(i) for i in range(patients)]
    columns = {"sex": np.where(men, "M", "F").tolist()}
    return subgroups("opacity", sick, scores, scores > 1.2, names, columns, Bootstrap(names)), sick, scores, men


def test_a_group_has_the_figures_of_its_rows() -> None:
    rows, sick, scores, men = world(1.0)
    women, other = rows
    assert [row.group for row in rows] == ["F", "M"]
    assert women.auroc.value == pytest.approx(auroc(sick[~men], scores[~men]))
    hits = int((scores[~men & sick] > 1.2).sum())
    assert (women.sensitivity.low, women.sensitivity.high) == wilson(hits, 60)
    assert women.patients == other.patients == 120
    assert women.positive_patients == women.negative_patients == 60
    difference = women.differences["auroc"]
    assert difference.value == pytest.approx(women.auroc.value - other.auroc.value)
    assert difference.value == pytest.approx(-other.differences["auroc"].value)


def test_only_an_interval_without_zero_is_called_a_difference() -> None:
    assert all(row.differs == () for row in world(1.0)[0])
    women, men = world(0.2)[0]
    assert {"auroc", "sensitivity"} <= set(women.differs)
    assert "specificity" not in women.differs
    assert women.differences["auroc"].low > 0
    assert men.differences["auroc"].high < 0


def test_small_groups_are_said_to_be_small_and_get_no_figures() -> None:
    names = [str(i) for i in range(60)]
    sick = np.arange(60) % 2 == 1
    view = ["AP" if i < 2 * FEW - 2 else "PA" for i in range(60)]
    rows = subgroups("x", sick, sick + 0.0, sick, names, {"view": view}, Bootstrap(names, draws=200))
    small, big = rows
    assert small.group == "AP"
    assert small.positive_patients == FEW - 1
    assert (small.auroc.value, small.sensitivity.value, small.specificity.value) == (None, None, None)
    assert small.differences == {}
    assert small.note == "fewer than 10 patients with and without it"
    assert big.note == ""
    assert big.auroc.value == 1


def test_few_patients_with_many_images_stay_few() -> None:
    names = [f"p{i % 6}" for i in range(120)]
    sick = np.array([int(name[1]) % 2 == 1 for name in names])
    view = ["AP" if i < 60 else "PA" for i in range(120)]
    rows = subgroups("x", sick, sick + 0.0, sick, names, {"view": view}, Bootstrap(names, draws=200))
    assert all(row.cases == 60 and row.patients == 6 and row.note for row in rows)
