"""Frames to cines and patches to slides, by hand."""

import numpy as np
import pytest
import torch

from medcam.errors import UsageError
from medcam.evaluation.aggregation import RULES, SEVERAL, aggregate
from medcam.evaluation.table import Scored
from medcam.models._pooling import pool


def logit(p):
    return np.log(p) - np.log1p(-np.asarray(p))


def binary(probabilities, targets=None, exams=None, patients=None, **columns) -> Scored:
    p = np.array(probabilities, dtype=float)
    return Scored.of(
        logit(p),
        np.zeros(len(p)) if targets is None else targets,
        patients or ["anna"] * len(p),
        ["opacity"],
        "single-logit",
        exams=exams or ["one"] * len(p),
        columns=columns,
    )


def test_three_frames_by_hand() -> None:
    frames = binary([0.9, 0.4, 0.4])
    by_rule = {rule: float(aggregate(frames, rule).probabilities[0, 0]) for rule in RULES}
    assert by_rule["mean probability"] == pytest.approx(1.7 / 3)  # says yes
    assert by_rule["majority vote"] == pytest.approx(1 / 3, abs=1e-5)  # one of three: says no
    # odds 9, 2/3, 2/3: geometric mean 4 ** (1 / 3) = 1.5874
    assert by_rule["mean logit"] == pytest.approx(1.5874 / 2.5874, abs=1e-4)
    assert by_rule["max"] == pytest.approx(0.9)
    mean_odds, all_odds = (9 + 4 / 3) / 3, 9 + 4 / 3
    assert by_rule["log-mean-exp"] == pytest.approx(mean_odds / (1 + mean_odds))
    assert by_rule["log-sum-exp"] == pytest.approx(all_odds / (1 + all_odds))


def test_pooling_of_logits_is_what_bundles_do() -> None:
    z = np.random.default_rng(0).normal(0, 3, 40)
    tiles = Scored.of(z, np.zeros(40), ["p"] * 40, ["tumour"], "single-logit", exams=["slide"] * 40)
    for rule, how in (("mean logit", "mean"), ("log-mean-exp", "log-mean-exp"), ("log-sum-exp", "log-sum-exp")):
        assert aggregate(tiles, rule).logits[0, 0] == pytest.approx(float(pool(torch.tensor(z), how, (0,))))


def test_equal_votes_go_by_mean_probability() -> None:
    assert aggregate(binary([0.9, 0.4]), "majority vote").probabilities[0, 0] > 0.5
    assert aggregate(binary([0.6, 0.1]), "majority vote").probabilities[0, 0] < 0.5


def test_a_vote_is_taken_at_the_threshold() -> None:
    frames = binary([0.3, 0.25, 0.1])
    assert aggregate(frames, "majority vote", threshold=0.25).probabilities[0, 0] == pytest.approx(2 / 3, abs=1e-5)


def test_three_classes_by_hand() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.45, 0.05, 0.5]])
    frames = Scored.of(np.log(p), [[0, 0, 1]] * 3, ["a"] * 3, ["x", "y", "z"], "softmax", exams=["e"] * 3)
    assert np.allclose(frames.probabilities, p)
    mean = aggregate(frames, "mean probability")
    assert np.allclose(mean.probabilities, [[0.35, 0.85 / 3, 1.1 / 3]])
    assert np.allclose(aggregate(mean, "mean logit").probabilities, mean.probabilities)  # logits agree with them
    votes = aggregate(frames, "majority vote")
    assert np.allclose(votes.probabilities, 1 / 3, atol=1e-5)
    assert votes.predicted[0] == 2  # one vote each: the greatest mean probability
    assert np.allclose(aggregate(frames, "max").probabilities, np.array([[0.5, 0.5, 0.5]]) / 1.5)
    geometric = np.prod(p, axis=0) ** (1 / 3)
    assert np.allclose(aggregate(frames, "mean logit").probabilities, geometric / geometric.sum())
    assert all(aggregate(frames, rule).targets.tolist() == [[0, 0, 1]] for rule in RULES)


def test_groups_keep_their_order_truth_and_shared_columns() -> None:
    rows = binary(
        [0.2, 0.8, 0.6, 0.4],
        targets=[0, 0, 1, 0],
        exams=["z", "b", "z", "a"],
        patients=["p", "q", "p", "p"],
        view=["PA", "PA", "AP", "AP"],
        sex=["F", "M", "F", "F"],
    )
    exams = aggregate(rows)
    assert exams.exams == ("z", "b", "a")
    assert exams.patients == ("p", "q", "p")
    assert exams.targets[:, 0].tolist() == [1, 0, 0]
    assert np.allclose(exams.probabilities[:, 0], [0.4, 0.8, 0.4])
    assert exams.columns == {"view": (SEVERAL, "PA", "AP"), "sex": ("F", "M", "F")}
    patients = aggregate(exams, "max", by="patient")
    assert patients.patients == ("p", "q")
    assert patients.targets[:, 0].tolist() == [1, 0]
    assert np.allclose(patients.probabilities[:, 0], [0.4, 0.8])
    assert patients.columns["view"] == (SEVERAL, "PA")


def test_one_exam_cannot_have_two_classes() -> None:
    frames = Scored.of(np.zeros((2, 2)), np.eye(2), ["a", "a"], ["x", "y"], "softmax", exams=["e7", "e7"])
    with pytest.raises(UsageError, match="e7") as refused:
        aggregate(frames)
    assert refused.value.code == "mixed-labels"


def test_a_mistyped_rule_is_helped() -> None:
    with pytest.raises(UsageError, match="Did you mean majority vote"):
        aggregate(binary([0.1, 0.2]), "majority votes")
