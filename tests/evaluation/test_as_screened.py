"""`medcam evaluate` and `medcam screen` on the same files: the same score, threshold and decision, case by case."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest, Row
from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.answers import POOLING
from medcam.evaluation.evaluate import Options, evaluate
from medcam.evaluation.screened import screened
from medcam.evaluation.table import Scored
from medcam.grid import Grid
from medcam.models import load_bundle, save_bundle
from medcam.models.resnet import ResNet
from medcam.pipeline import shelf
from medcam.reliability import calibration, conformal, support
from medcam.reliability.calibration import Calibration
from medcam.reliability.conformal import Conformal
from medcam.reliability.judging import Judge
from medcam.reliability.support import Examples, Support, features
from medcam.reliability.thresholds import Threshold
from medcam.scoring import Scorer
from medcam.transforms import Prepared
from tests.small_dicom import scene, write_dx
from tests.stand_ins import card, network_def, set_to_brightness
from tests.world import World, by_source

NAME, FINDING = "chest_xray_opacity", "opacity"
SIZES = (0, 8, 14, 20, 26, 32, 38, 44, 50, 60, 75, 90)
"""Side of the bright block of each X-ray."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve X-rays with larger and larger blocks."""
    made = tmp_path_factory.mktemp("x-rays")
    rows = []
    for n, side in enumerate(SIZES):
        block = (slice(40, 40 + side), slice(50, 50 + side))
        write_dx(made / f"{n:02}.dcm", scene((200, 180), block, n), PatientID=f"p{n}")
        rows.append((f"{n:02}.dcm", ("fluid", "opacity", "healthy")[n % 3], f"p{n}"))
    with (made / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "label", "patient_id"), *rows])
    return made


def cuts(*values: float) -> tuple[Threshold, ...]:
    return tuple(Threshold(value, f"by hand at {value}", (0.0, 1.0), 1.0, 1.0) for value in values)


WARM = Calibration("softmax", (0.5,) * 3, (0.0,) * 3, (0.3,) * 3, 50, 50, thresholds=cuts(0.2, 0.3, 0.6))
SCALED = Calibration("single-logit", (0.5,), (-0.3,), (0.3,), 50, 50, thresholds=cuts(0.35))
TWO = Calibration("sigmoid", (0.4, 0.7), (0.2, -0.2), (0.3, 0.3), 50, 50, thresholds=cuts(0.7, 0.45))
RATES = (-30.0, 60.0, 90.0)
"""Of the labels' logits over brightness."""
HEADS = {
    "single-logit": (("opacity",), SCALED, Labelling.binary("opacity", ["opacity"], ["healthy", "fluid"])),
    "sigmoid": (("fluid", "opacity"), TWO, Labelling.multilabel(["opacity", "fluid"])),
    "softmax": (
        ("healthy", "opacity", "fluid"),
        WARM,
        Labelling.classes({name: [name] for name in ("fluid", "opacity", "healthy")}),
    ),
}


def bundle(folder: Path, head: str, learned: Calibration | None) -> Path:
    """Each label's logit rises or falls with brightness at a rate of its own."""
    labels = HEADS[head][0]
    definition = network_def(out_channels=len(labels))
    network = ResNet(**{name: value for name, value in definition.items() if name != "_target_"})
    set_to_brightness(network)
    with torch.no_grad():
        network.head.map.weight[:] = torch.tensor(RATES)[-len(labels) :].reshape(-1, 1, 1, 1)
        network.head.bias[:] = torch.tensor([1.0, -0.5, -2.0])[-len(labels) :]
    stated = card(NAME, labels=labels, head=head, threshold=0.4, pooling="log-mean-exp")
    blobs = {} if learned is None else {calibration.BLOB: learned.to_bytes()}
    save_bundle(folder, network, definition, stated, "x", input_shape=(1, 256, 256), modality="DX", blobs=blobs)
    return folder


@pytest.mark.parametrize(
    ("head", "calibrated"), [("single-logit", True), ("sigmoid", True), ("softmax", True), ("softmax", False)]
)
def test_score_threshold_and_decision_are_those_of_screening(folder, tmp_path, head, calibrated) -> None:
    _, learned, meant = HEADS[head]
    made = bundle(tmp_path / "bundle", head, learned if calibrated else None)
    World(folder, {NAME: str(made)}, (NAME,)).screen(tmp_path / "screened")
    asked = Options(draws=200, worst=0, workers=1, disturbance="none")
    found = evaluate(made, folder / "manifest.csv", tmp_path / "evaluated", meant, asked)
    table = Scored.read(tmp_path / "evaluated" / "predictions.csv", head)
    k = table.labels.index(FINDING)
    screened = {file: case for (_, file), case in by_source(tmp_path / "screened").items()}
    decided = []
    for row, file in enumerate(table.files):
        case = screened[file]
        assert case.prediction.score == pytest.approx(table.probabilities[row, k], abs=1e-3)  # pixels kept in 16 bits
        assert case.prediction.threshold == found.labels[k].performance.threshold
        assert case.prediction.threshold_origin == found.labels[k].performance.threshold_origin
        assert case.decision.outcome == ("flagged" if table.columns["flagged opacity"][row] == "1" else "not flagged")
        decided.append(case.decision.outcome)
    assert 2 <= decided.count("flagged") <= len(SIZES) - 2
    if head == "softmax" and calibrated:  # the rule that used to be: it says something else about these images
        taken = ["flagged" if best == k else "not flagged" for best in table.predicted]
        assert decided != taken


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A bundle with calibration, conformal sets and the support of small blocks: large ones are unlike them."""
    labels, known, _ = HEADS["softmax"]
    made = load_bundle(bundle(tmp_path_factory.mktemp("learned") / "plain", "softmax", WARM))
    layer = features(made.model, [torch.zeros(1, 1, 256, 256)], made.card.layer)[2]
    rng, y = np.random.default_rng(0), np.repeat(np.eye(3), 20, axis=0)

    def cases(who: str) -> Examples:
        h = rng.uniform(0, 0.035, 60)[:, None] * RATES  # the explained layer is the class map
        return Examples(h, 0.1 + 0.7 * y, y, [f"{who}{i}" for i in range(60)], [f"{who}{i}" for i in range(60)])

    sets = Conformal("softmax", labels, 0.1, "lac", True, ((0.62, 0.68, 0.68),), ((40, 40, 40),))
    blobs = {
        calibration.BLOB: known.to_bytes(),
        conformal.BLOB: sets.to_bytes(),
        support.BLOB: Support.fit(cases("t"), cases("c"), [0.2, 0.3, 0.6], layer=layer, salt="").to_bytes(),
    }
    definition = network_def(out_channels=3)
    folder = tmp_path_factory.mktemp("learned") / "whole"
    save_bundle(folder, made.model, definition, made.card, "x", input_shape=(1, 256, 256), modality="DX", blobs=blobs)
    return folder


def test_who_is_referred_and_why_is_what_screening_says(folder, learned, tmp_path) -> None:
    options = {"workers": 1, "uncertainty": "augmentation"}
    World(folder, {NAME: str(learned)}, (NAME,)).screen(tmp_path / "screened", **options)
    asked = Options(draws=200, worst=0, workers=1)
    found = evaluate(learned, folder / "manifest.csv", tmp_path / "evaluated", HEADS["softmax"][2], asked)
    assert len(by_source(tmp_path / "screened")) == len(SIZES)
    with (tmp_path / "evaluated" / "screening.csv").open(newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream) if row["label"] == FINDING}
    outcomes, doubts = Counter(), Counter()
    for (_, file), case in by_source(tmp_path / "screened").items():
        row = rows[file]
        assert row["decision"] == case.decision.outcome, file
        assert float(row["score"]) == pytest.approx(case.prediction.score, abs=1e-3)
        assert float(row["score_sd"]) == pytest.approx(case.uncertainty.score_sd, abs=1e-3)
        assert len(row["why"].split("; ")) == len(case.decision.reasons)
        outcomes[case.decision.outcome] += 1
        doubts.update(case.decision.doubts)
    (told,) = (one for one in found.referrals if one.label == FINDING)
    assert told.disturbance == "augmentation"  # nobody said so: the pipeline does
    assert told.judged_by == ("90 % conformal set", "support")
    assert told.reasons == doubts
    assert {"near the threshold", "unlike anything trained on", "set of several answers"} <= set(doubts)
    assert {name: told.with_finding[name] + told.without_finding[name] for name in outcomes} == outcomes
    assert min(outcomes[name] for name in ("flagged", "not flagged", "refer")) >= 1
    html = (tmp_path / "evaluated" / "report.html").read_text()
    assert "What screening would decide" in html
    assert "unlike anything trained on" in html


def test_a_slide_is_asked_as_a_whole(tmp_path) -> None:
    """Seven tiles of two slides, by the screening's scorer and by the evaluation."""
    folder = bundle(tmp_path / "b", "single-logit", SCALED)
    rng = np.random.default_rng(0)
    tiles = rng.uniform(0.2, 0.7, (7, 1, 64, 64)).astype(np.float16).astype(np.float32)
    tiles[2, :, 10:40, 10:40] = 1.0
    meant, rows = HEADS["single-logit"][2], np.array([0, 0, 0, 0, 1, 1, 1])
    images = Images.of(tiles, np.ones((7, 1)), ["p"] * 7, meant)
    images.rows = rows
    manifest = Manifest(tmp_path, tuple(Row(n, tmp_path, "1", f"p{n}", "e", "", {"file": f"{n}"}) for n in (0, 1)))
    told = screened(load_bundle(folder), images, manifest, "augmentation")
    scorer = Scorer(replace(shelf().load(NAME), uncertainty="augmentation"), folder, "cpu", 4, False)
    for one, own in zip(told, (tiles[:4], tiles[4:]), strict=True):
        grids = tuple(Grid.plane((64, 64), (1.0, 1.0)).cropped((0, 0), (64, 64)) for _ in own)
        (expected,) = scorer.answers([Prepared(torch.from_numpy(own), grids, ())], [one.patient])
        assert one.prediction.score == pytest.approx(expected.prediction.score, abs=1e-6)
        assert one.uncertainty.score_sd == pytest.approx(expected.uncertainty.score_sd, abs=1e-6)
        assert one.prediction.part_scores == pytest.approx(expected.prediction.part_scores, abs=1e-6)
        assert one.uncertainty.score_sd > 0


@pytest.mark.parametrize("pooling", ["mean", "max", "log-mean-exp", "log-sum-exp"])
def test_several_parts_of_a_softmax_give_the_score_of_the_pooled_probabilities(tmp_path, pooling) -> None:
    """Screening pools the parts' outputs, evaluation aggregates a table of them: one number."""
    made = load_bundle(bundle(tmp_path / "bundle", "softmax", WARM))
    made = replace(made, card=replace(made.card, pooling=pooling))
    output = torch.tensor(np.random.default_rng(0).normal(0, 2, (5, 3)))
    table = Scored.of(output.numpy(), np.eye(3)[[1] * 5], ["p"] * 5, made.card.labels, "softmax", files=["slide"] * 5)
    pooled = aggregate(table, POOLING.get(pooling, pooling), by="image")
    expected = WARM.probability(pooled.logits)[0]
    for label in range(3):
        assert Judge(made).prediction(output, label).score == pytest.approx(expected[label], abs=1e-9)
    plain = Judge(replace(made, card=replace(made.card, blobs_sha256={})))
    assert plain.prediction(output, 1).score == pytest.approx(pooled.probabilities[0, 1], abs=1e-9)
