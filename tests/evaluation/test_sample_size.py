"""What so many patients can show, by the exact binomial."""

import pytest
from scipy.stats import beta

from medcam.evaluation.sample_size import best_claim, misses_allowed, needed, statement


def lower(hits: int, cases: int) -> float:
    """One-sided 95 % bound of Clopper and Pearson."""
    return float(beta.ppf(0.05, hits, cases - hits + 1)) if hits else 0.0


@pytest.mark.parametrize(("cases", "misses"), [(20, None), (58, None), (59, 0), (92, 0), (93, 1), (100, 1), (200, 4)])
def test_misses_that_still_show_95_per_cent(cases, misses) -> None:
    assert misses_allowed(cases, 0.95) == misses


@pytest.mark.parametrize("cases", [1, 20, 59, 137, 3000])
def test_they_are_those_of_clopper_and_pearson(cases) -> None:
    allowed = misses_allowed(cases, 0.9)
    if allowed is not None:
        assert lower(cases - allowed, cases) >= 0.9
    assert lower(cases - (allowed if allowed is not None else -1) - 1, cases) < 0.9


def test_the_fewest_and_the_best() -> None:
    assert needed(0.95) == 59
    assert needed(0.9) == 29
    assert best_claim(20) == pytest.approx(0.8609, abs=1e-4)
    assert lower(20, 20) == pytest.approx(best_claim(20))


def test_in_words() -> None:
    assert statement("sensitivity", "with opacity", 20) == (
        "20 patients with opacity can never show a sensitivity of 95 %: without a single miss they show 86 % at best, and 59 "
        "patients would be the fewest (one-sided 95 % confidence)."
    )
    assert "only with at most 1 miss (" in statement("specificity", "without it", 100)
    assert "nothing can be said" in statement("sensitivity", "with it", 0)
    assert statement("sensitivity", "with it", 1).startswith("1 patient with it can never")
