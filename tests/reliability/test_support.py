"""Nearest training cases: the patient is left out, strangers are novel, training features are those of screening."""

import json

import numpy as np
import pytest
import torch

from medcam.data.splits import Split
from medcam.errors import ModelError
from medcam.explainers import explain
from medcam.models.resnet import ResNet
from medcam.models.video import Video
from medcam.reliability.support import DIRECTIONS, NEAREST, Examples, Support, features, hashed

SALT = "of the split"


def cohort(patients, first=0, images=2, seed=0, width=40):
    """Two clouds of features; the network's probability follows the same direction with noise."""
    rng = np.random.default_rng(seed)
    sick = np.repeat(rng.random(patients) < 0.4, images)
    scale = np.geomspace(10, 0.1, width)  # a few channels would dominate plain distances
    h = (rng.normal(0, 1, (len(sick), width)) + np.outer(sick, np.linspace(3, 0, width))) * scale
    p = 1 / (1 + np.exp(-(3 * sick - 1.5 + rng.normal(0, 1.2, len(sick)))))
    who = np.repeat([f"p{first + i}" for i in range(patients)], images).tolist()
    return Examples(h, p[:, None], sick[:, None].astype(float), who, [f"{name}_{i}" for i, name in enumerate(who)])


@pytest.fixture(scope="module")
def known():
    training, calibration = cohort(200), cohort(60, first=200, seed=1)
    return Support.fit(training, calibration, [0.5], layer="layer4", salt=SALT), training, calibration


def test_everything_about_the_patient_is_left_out(known):
    support, training, _ = known
    h, p = training.features[0], training.probabilities[0, 0]
    unknown = support.judge(h, p)
    assert unknown.nearest < 0.05, "the image itself"
    assert not unknown.trained_on
    own = support.judge(h, p, patient="p0")
    assert own.trained_on
    assert own.nearest > 10 * unknown.nearest
    assert len(own.neighbours) == NEAREST
    assert f"{hashed(SALT, 'p0'):016x}" not in [one.patient for one in own.neighbours]
    alone = Examples(training.features[2:], training.probabilities[2:], training.targets[2:], training.patients[2:],
                     training.files[2:])  # fmt: skip
    without = Support.fit(alone, known[2], [0.5], layer="layer4", salt=SALT)
    assert len(without.cases) == len(support.cases) - 2


def test_neighbours_are_those_of_plain_whitened_distances(known):
    support, training, calibration = known
    h = training.features
    values, vectors = np.linalg.eigh(np.cov(h.T, ddof=0))
    order = np.argsort(-values)
    count = int((values[order].cumsum() / values.sum() < 0.99).sum()) + 1
    assert support.basis.shape == (40, count)
    white = (h - h.mean(axis=0)) @ vectors[:, order[:count]] / np.sqrt(values[order[:count]])
    np.testing.assert_allclose(support.cases.astype(float).std(axis=0), 1, atol=1e-2)
    query = (calibration.features[5] - h.mean(axis=0)) @ vectors[:, order[:count]] / np.sqrt(values[order[:count]])
    distances = np.linalg.norm(white - query, axis=1)
    nearest = np.argsort(distances)[:NEAREST]
    judged = support.judge(calibration.features[5], calibration.probabilities[5, 0], patient=calibration.patients[5])
    assert [one.file for one in judged.neighbours] == [f"{hashed(SALT, training.files[i]):016x}" for i in nearest]
    assert [one.distance for one in judged.neighbours] == pytest.approx(distances[nearest], rel=1e-2)
    yes = calibration.probabilities[5, 0] >= 0.5
    for one, i in zip(judged.neighbours, nearest, strict=True):
        assert one.present == (training.targets[i, 0] == 1)
        assert one.agrees == (training.targets[i, 0] == yes == (training.probabilities[i, 0] >= 0.5))


def test_the_similarity_of_the_toy_line():
    """Training at 0, 1, 2 (right, without), 3 (wrong), 10 (right, with), on a line."""
    places = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])
    said, truth = np.array([0.1, 0.1, 0.1, 0.9, 0.9])[:, None], np.array([0, 0, 0, 0, 1])[:, None]
    training = Examples(places, said, truth, list("abcde"), list("abcde"))
    calibration = Examples(places + 0.2, said, truth, list("fghij"), list("fghij"))
    line = Support.fit(training, calibration, [0.5], layer="x", salt="")
    assert line.judge([0.4], 0.2).similarity == 3
    assert line.judge([0.4], 0.8).similarity == 0
    assert line.judge([9.0], 0.8).similarity == 1
    assert line.judge([9.0], 0.8, patient="e").similarity == 0, "its only support is the patient's own image"


def test_strangers_are_novel_and_unseen_patients_rarely(known):
    support, _, _ = known
    assert support.limit is not None
    new = cohort(300, first=1000, seed=5)
    flagged = np.array(
        [
            support.judge(h, p[0], patient=who).novel
            for h, p, who in zip(new.features, new.probabilities, new.patients, strict=True)
        ]
    )
    by_patient = flagged.reshape(300, 2).any(axis=1).mean()
    assert by_patient <= 0.12, "at most 5 % on average over calibration samples of 60"
    strange = np.array(
        [support.judge(h + 60, p[0]).novel for h, p in zip(new.features, new.probabilities, strict=True)]
    )
    assert strange.mean() > 0.95
    assert "outside the training range" in support.judge(new.features[0] + 60, 0.9).text


def test_the_limit_of_novelty_holds_on_average_over_cohorts():
    rates = []
    for seed in range(12):
        support = Support.fit(cohort(80, seed=seed), cohort(39, first=200, seed=100 + seed), [0.5], layer="x", salt="")
        new = cohort(60, first=1000, seed=200 + seed)
        flags = [support.judge(h, 0.5, patient=who).novel for h, who in zip(new.features, new.patients, strict=True)]
        rates.append(np.array(flags).reshape(60, 2).any(axis=1).mean())
    assert np.mean(rates) <= 0.08


def test_too_few_calibration_patients_give_no_limit():
    support = Support.fit(cohort(50), cohort(18, first=90, seed=1), [0.5], layer="x", salt="")
    assert support.limit is None
    far = support.judge(np.full(40, 1e4), 0.9)
    assert not far.novel
    assert "training range not known" in far.text


def test_support_tells_right_answers_from_wrong_ones(known):
    """What it is for: correct answers of unseen patients have more of it."""
    support = known[0]
    new = cohort(300, first=1000, seed=6)
    judged = [support.judge(h, p[0]) for h, p in zip(new.features, new.probabilities, strict=True)]
    right = (new.probabilities[:, 0] >= 0.5) == (new.targets[:, 0] == 1)
    q, score = np.array([one.similarity for one in judged]), np.array([one.score for one in judged])
    assert np.median(q[right]) >= 3 > 1 > np.median(q[~right])
    assert score[right].mean() > score[~right].mean()
    assert right[q > 0].mean() > right.mean() > right[q == 0].mean()
    assert all(0 <= one.distance <= 1 for one in judged)


def test_labels_have_cases_and_thresholds_of_their_own():
    one, two = cohort(60), cohort(60, seed=9)
    both = Examples(one.features, np.hstack([one.probabilities, two.probabilities]),
                    np.hstack([one.targets, two.targets]), one.patients, one.files)  # fmt: skip
    support = Support.fit(both, both, [0.5, 0.9], layer="x", salt="")
    h = one.features[0]
    assert support.said[:, 1].sum() == (two.probabilities >= 0.9).sum()
    first, second = (support.judge(h, 0.7, label) for label in (0, 1))
    assert [a.present for a in first.neighbours] != [b.present for b in second.neighbours]
    assert first.nearest == second.nearest


def test_of_many_cases_each_combination_of_labels_is_kept_alike():
    training = cohort(500, images=1)
    rare = training.targets.copy()
    rare[:] = 0
    rare[:40] = 1
    many = Examples(training.features, training.probabilities, rare, training.patients, training.files)
    support = Support.fit(many, cohort(30, first=600, seed=1), [0.5], layer="x", salt="", most=100)
    assert len(support.cases) == 100
    assert support.present.sum() == 40
    wide = cohort(120, width=200)
    flat = Examples(np.random.default_rng(0).normal(size=wide.features.shape), *(getattr(wide, name) for name in
                    ("probabilities", "targets", "patients", "files")))  # fmt: skip
    assert Support.fit(flat, flat, [0.5], layer="x", salt="").basis.shape == (200, DIRECTIONS)


def test_what_a_bundle_keeps_comes_back_and_names_nobody(known):
    support, training, _ = known
    content = support.to_bytes()
    again = Support.from_bytes(content)
    for i in (0, 7):
        h, p = training.features[i], training.probabilities[i, 0]
        assert again.judge(h, p, patient=training.patients[i]) == support.judge(h, p, patient=training.patients[i])
    assert b"p17" not in content
    assert b"p17_34" not in content
    assert len(content) < 100_000
    table = Split({"p0": "training"}, 0, "").table(SALT)
    assert f"{hashed(SALT, 'p0'):016x}" in table.sides, "hashes are those of the bundle's split"
    for damaged in (content[:-9], b"", content.replace(b"limit", b"limbo"), json.dumps({}).encode()):
        if damaged == content.replace(b"limit", b"limbo"):
            assert Support.from_bytes(damaged).limit is None
            continue
        with pytest.raises(ModelError, match="bundle-support"):
            Support.from_bytes(damaged)
    with pytest.raises(ModelError, match="support-features"):
        support.judge(np.zeros(41), 0.5)


@pytest.mark.parametrize("kind", ["image", "volume", "cine"])
def test_training_and_screening_see_the_same_features(kind):
    small = {
        "widths": [4, 6],
        "blocks": [1, 1],
        "strides": [2, 2],
        "stem_kernel": 3,
        "stem_stride": 2,
        "stem_pool": False,
    }
    torch.manual_seed(0)
    network = ResNet(spatial_dims=3 if kind == "volume" else 2, in_channels=1, out_channels=2, **small)
    network = (Video(network) if kind == "cine" else network).eval()
    shape = {"image": (32, 40), "volume": (16, 24, 20), "cine": (5, 32, 40)}[kind]
    x = torch.randn(6, 1, *shape)
    explained = explain(network, x, targets=1)
    logits, found, layer = features(network, x.split(4), "auto")
    assert layer == explained.layer
    np.testing.assert_allclose(found, explained.features.numpy(), atol=1e-6)
    np.testing.assert_allclose(logits, explained.output.numpy(), atol=1e-5)
    seen = []
    handle = network.get_submodule(layer.split(" ")[0]).register_forward_hook(lambda m, a, output: seen.append(output))
    with torch.no_grad():
        network(x)
    handle.remove()
    activation = seen[0]  # (rows, channels, *cells)
    frames = activation.flatten(2).mean(2).reshape(6, -1, activation.shape[1])
    np.testing.assert_allclose(found, frames.mean(1).numpy(), atol=1e-6)
