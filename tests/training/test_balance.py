from collections import Counter

import numpy as np
import pytest

from medcam.training.balance import Batches, classes, order

SICK = np.array([[1.0]] * 4 + [[0.0]] * 20, np.float32)
PATIENTS = ["a"] * 3 + ["b"] + ["c"] * 18 + ["d", "e"]


def test_without_balance_everything_comes_once():
    first, second = (order(SICK, PATIENTS, "single-logit", "none", 0, epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(24))
    assert list(first) != list(second)


def test_by_image_the_classes_are_equal_and_nothing_waits_for_a_second_turn():
    chosen = order(SICK, PATIENTS, "single-logit", "image", 0, 0)
    times = Counter(chosen.tolist())
    assert [times[index] for index in range(4)] == [3, 3, 3, 3]
    assert sorted(times[index] for index in range(4, 24)) == [0] * 8 + [1] * 12


def test_by_patient_a_long_cine_counts_no_more_than_an_image():
    chosen = order(SICK, PATIENTS, "single-logit", "patient", 0, 0, count=120)
    times = Counter(PATIENTS[index] for index in chosen)
    assert times == {"a": 30, "b": 30, "c": 20, "d": 20, "e": 20}
    assert {Counter(chosen.tolist())[index] for index in range(3)} == {10}  # the images of patient a by turns


def test_a_patient_with_both_classes_shows_each_in_its_class():
    targets = np.array([[1.0], [0.0], [0.0], [0.0]], np.float32)
    chosen = Counter(order(targets, ["x", "x", "x", "y"], "single-logit", "patient", 3, 0, count=40).tolist())
    assert chosen == {0: 20, 1: 5, 2: 5, 3: 10}


def test_softmax_and_several_labels():
    three = np.repeat(np.eye(3, dtype=np.float32), [1, 5, 30], axis=0)
    chosen = order(three, ["p"] * 36, "softmax", "image", 0, 0)
    assert three[chosen].sum(0).tolist() == [12, 12, 12]
    several = np.array([[1, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 0]], np.float32)
    assert [group.tolist() for group in classes(several, "sigmoid")] == [[2, 3, 4, 5], [0, 1], [1]]
    chosen = order(several, list("abcdef"), "sigmoid", "image", 0, 0, count=600)
    times = Counter(chosen.tolist())
    assert times[0] == 100  # half of the first label's third
    assert times[1] == 300  # the other half, and the second label's third
    assert [times[index] for index in range(2, 6)] == [50] * 4


@pytest.mark.parametrize("balance", ["none", "image", "patient"])
def test_seed_and_epoch_decide_alone(balance):
    def chosen(seed, epoch):
        return order(SICK, PATIENTS, "single-logit", balance, seed, epoch).tolist()

    assert chosen(5, 7) == chosen(5, 7)
    assert len({tuple(chosen(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert len(order(SICK, PATIENTS, "single-logit", balance, 0, 0, count=7)) == 7


@pytest.mark.parametrize("balance", ["none", "image", "patient"])
def test_processes_share_each_batch(balance):
    def batches(rank, processes):
        made = Batches(SICK, PATIENTS, "single-logit", balance, 1, 8, 21, rank, processes)
        made.set_epoch(4)
        assert len(made) == 3
        return list(made)

    alone, parts = batches(0, 1), [batches(rank, 4) for rank in range(4)]
    assert all(len(part) == 2 for own in parts for part in own)
    for step, batch in enumerate(alone):
        assert sorted(batch) == sorted(index for own in parts for index in own[step])
    assert [index for batch in alone for index in batch][:21] == order(
        SICK, PATIENTS, "single-logit", balance, 1, 4, 21
    ).tolist()
    if balance == "none":
        for batch in alone[:2]:
            assert len(set(batch)) == 8  # so the shares are disjoint
