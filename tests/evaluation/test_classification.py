import numpy as np
import pytest

from medcam.evaluation.classification import Ranked, auroc, average_precision, counts, interval, wilson, youden


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


def test_auroc_is_the_brute_force_count_of_pairs_also_with_weights() -> None:
    rng = np.random.default_rng(4)
    labels, scores, weights = rng.integers(0, 2, 60), rng.integers(0, 8, 60), rng.integers(0, 4, (5, 60)).astype(float)
    found = Ranked(labels, scores).auroc(weights)
    for row, area in zip(weights, found, strict=True):
        wins = pairs = 0.0
        for i in np.flatnonzero(labels == 1):
            for j in np.flatnonzero(labels == 0):
                pairs += row[i] * row[j]
                wins += row[i] * row[j] * (float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j]))
        assert area == pytest.approx(wins / pairs)


@pytest.mark.parametrize("levels", [3, 20, 10**9])
def test_figures_equal_scikit_learn_s_with_weights_and_ties(levels) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(levels)
    labels, scores = rng.integers(0, 2, 150), rng.integers(0, levels, 150)
    weights = rng.integers(0, 5, (4, 150)).astype(float)
    ranked, cut = Ranked(labels, scores), levels / 2
    flagged = scores >= cut
    at = counts(labels, flagged, weights)
    for d, w in enumerate(weights):
        pairs = [
            (ranked.auroc(weights)[d], metrics.roc_auc_score(labels, scores, sample_weight=w)),
            (ranked.average_precision(weights)[d], metrics.average_precision_score(labels, scores, sample_weight=w)),
            (at.f1[d], metrics.f1_score(labels, flagged, sample_weight=w)),
            (at.mcc[d], metrics.matthews_corrcoef(labels, flagged, sample_weight=w)),
            (at.balanced_accuracy[d], metrics.balanced_accuracy_score(labels, flagged, sample_weight=w)),
            (at.accuracy[d], metrics.accuracy_score(labels, flagged, sample_weight=w)),
            (at.precision[d], metrics.precision_score(labels, flagged, sample_weight=w)),
            (at.sensitivity[d], metrics.recall_score(labels, flagged, sample_weight=w)),
            (at.specificity[d], metrics.recall_score(1 - labels, ~flagged, sample_weight=w)),
            (at.negative_predictive_value[d], metrics.precision_score(1 - labels, ~flagged, sample_weight=w)),
        ]
        assert [ours for ours, _ in pairs] == pytest.approx([theirs for _, theirs in pairs])


def test_average_precision_by_hand() -> None:
    # ranks: sick, healthy, sick, healthy -> precision 1 and 2/3 at the sick ones
    assert average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    # the last three tie: they are found together, 2 of 4
    assert average_precision([1, 0, 1, 0], [4, 3, 3, 3]) == pytest.approx((1 + 2 / 4) / 2)
    with pytest.raises(ValueError, match="one class"):
        average_precision([1, 1], [1, 2])


def test_a_decision_that_never_varies() -> None:
    all_flagged = counts([1, 1, 0], [1, 1, 1])
    assert all_flagged.mcc == 0
    assert (all_flagged.sensitivity, all_flagged.specificity) == (1, 0)
    assert np.isnan(all_flagged.negative_predictive_value)
    only_sick = counts([1, 1], [1, 0])
    assert np.isnan(only_sick.specificity)
    assert np.isnan(only_sick.mcc)
    assert only_sick.sensitivity == 0.5
    assert np.isnan(counts([0, 0], [0, 0]).f1)


def test_a_hundred_thousand_scores_are_ranked_at_once() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 100_000)
    assert auroc(labels, labels + rng.normal(0, 1, 100_000)) == pytest.approx(0.7602, abs=0.006)  # Phi(1 / sqrt 2)
