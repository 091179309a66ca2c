"""From files to report: X-rays with bright blocks, a network that sees brightness, and answers known beforehand."""

import base64
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from medcam.data.labelling import Labelling
from medcam.data.splits import Split
from medcam.errors import ModelError, UsageError
from medcam.evaluation.classification import wilson
from medcam.evaluation.evaluate import Options, evaluate
from medcam.evaluation.outcome import Evaluation
from medcam.evaluation.page import page
from medcam.evaluation.table import Scored
from medcam.models import save_bundle
from medcam.models.resnet import ResNet
from medcam.reliability import calibration, conformal
from medcam.reliability.calibration import Calibration
from tests.small_dicom import write_us
from tests.stand_ins import card, network_def, set_to_brightness

FINDING = "opacity"
MEANT = Labelling.binary(FINDING, ["Infiltration"], ["No Finding"])
FAST = Options(draws=300, worst=0, workers=1, disturbance="none")
BLOCKS = {"sick": 14, "healthy": 0, "missed": 3, "false alarm": 12}
"""Side of the bright block in an image of 64 x 64; the network flags from about 8 on."""


def bundle(folder: Path, *, blobs=None, level=0.6, classes=0, **facts) -> Path:
    """A network that sees brightness; with `classes` the first of them is brightness, the others are constant."""
    definition = network_def(out_channels=max(classes, 1))
    network = ResNet(**{name: value for name, value in definition.items() if name != "_target_"})
    set_to_brightness(network, level=level, gain=100.0)
    if classes:
        network.head.map.weight.data[1:] = 0
        network.head.bias.data[1:] = 0
        facts |= {"head": "softmax"}
    stated = card("chest_xray_opacity", **({"labels": (FINDING,)} | facts))
    save_bundle(folder, network, definition, stated, "x", input_shape=(1, 256, 256), modality="DX", blobs=blobs or {})
    return folder


def picture(side: int, seed: int, at=(20, 30)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 60, (64, 64))
    values[at[0] : at[0] + side, at[1] : at[1] + side] = 250
    values[0] = 255  # more than one per cent, so that scaling to percentiles is alike in all images
    return values.astype(np.uint8)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """48 patients; every sixth has two images in one exam. Two sick ones are faint, two healthy ones bright."""
    folder = tmp_path_factory.mktemp("x-rays")
    rows = []
    for patient in range(48):
        sick = patient % 2 == 1
        kind = {1: "missed", 13: "missed", 20: "false alarm", 32: "false alarm"}.get(
            patient, "sick" if sick else "healthy"
        )
        for image in range(2 if patient % 6 == 0 else 1):
            name = f"CANARY^{patient}_{image}.png"
            Image.fromarray(picture(BLOCKS[kind] + (patient % 3 if sick else 0), 100 * patient + image)).save(
                folder / name
            )
            label = "Infiltration|Mass" if sick else "No Finding"
            sex, age = "F" if patient % 4 < 2 else "M", 20 + patient
            rows.append(
                [name, label, f"CANARY-{patient}", f"exam {patient}", sex, age, "test" if patient > 5 else "train"]
            )
    rows.append(["broken.png", "No Finding", "CANARY-99", "exam 99", "F", 40, "test"])
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    rows.append(["CANARY^0_2.png", "Effusion", "CANARY-98", "exam 98", "F", 40, "test"])
    Image.fromarray(picture(0, 1)).save(folder / "CANARY^0_2.png")
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "patient_id", "exam", "sex", "age", "split"])
        writer.writerows(rows)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def split_blob() -> bytes:
    """The model learned from patients 0, 2 and 4, and was stopped by 3; 7 was a test patient."""
    sides = {**{f"CANARY-{n}": "training" for n in (0, 2, 4)}, "CANARY-3": "validation", "CANARY-7": "test"}
    return json.dumps(Split(sides, 0, "by hand").table("salt").to_dict()).encode()


@pytest.fixture(scope="module")
def evaluated(manifest, split_blob, tmp_path_factory) -> tuple[Path, Evaluation, Path]:
    folder = tmp_path_factory.mktemp("evaluated")
    made = bundle(folder / "bundle", blobs={"configs/split.json": split_blob})
    return folder / "out", evaluate(made, manifest, folder / "out", MEANT, replace(FAST, worst=2)), made


def test_figures_are_those_of_the_predictions_by_another_library(evaluated) -> None:
    out, found, _ = evaluated
    assert found == Evaluation.from_dict(json.loads((out / "evaluation.json").read_text()))
    cases = Scored.read(out / "predictions.csv", "single-logit")
    truth, p = cases.targets[:, 0], cases.probabilities[:, 0]
    told = found.labels[0].performance
    assert told.auroc.value == pytest.approx(roc_auc_score(truth, p))
    assert told.average_precision.value == pytest.approx(average_precision_score(truth, p))
    flagged = np.array([cell == "1" for cell in cases.columns["flagged opacity"]])
    assert (told.tp, told.fn) == (21, 2)
    assert (told.tn, told.fp) == (19, 2)
    assert (flagged == (p >= 0.5)).all()
    assert (told.sensitivity_wilson.low, told.sensitivity_wilson.high) == pytest.approx(wilson(21, 23))
    assert told.auroc.low < told.auroc.value <= told.auroc.high


def test_patients_the_model_learned_from_are_left_out_and_counted(evaluated) -> None:
    _, found, _ = evaluated
    assert found.cohort.known_patients == {"training": 3, "validation": 1}
    assert found.patients == found.cases == 44
    assert found.images == 44 + 7  # two images of each sixth patient, without patient 0
    said = [line for line in found.caveats if "learned from" in line]
    assert said == ["4 of 50 patients were left out because the model learned from them (training 3, validation 1)."]


def test_rows_that_give_nothing_are_named_by_line_and_code(evaluated) -> None:
    found = evaluated[1]
    lines = {row.line: row.code for row in found.left_out}
    assert sorted(lines) == [58, 59]
    assert lines[59] == "other-label"
    assert lines[58] not in ("other-label", "")
    assert any(line.startswith("2 rows were left out and count nowhere") for line in found.caveats)


def test_nobody_is_named_in_the_report_and_nothing_is_fetched(evaluated) -> None:
    out, _, _ = evaluated
    html = (out / "report.html").read_text()
    assert "CANARY" not in html
    assert "CANARY" not in (out / "evaluation.json").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) > 6
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in html
    assert "url(" not in html
    assert "default-src 'none'" in html
    for source in sources:
        content = base64.b64decode(source.partition("base64,")[2])
        assert b"CANARY" not in content
        assert b"<script" not in content


def test_the_page_shows_nothing_that_is_not_in_the_record(evaluated) -> None:
    out, _, _ = evaluated
    html = (out / "report.html").read_text()
    again = Evaluation.from_dict(json.loads((out / "evaluation.json").read_text()))
    assert page(again, pictures_of(html)) == html


def pictures_of(html: str) -> list[bytes]:
    return [base64.b64decode(part) for part in re.findall(r"data:image/png;base64,([^\"]+)", html)]


def test_the_worst_cases_are_the_planted_ones_and_the_model_looked_at_the_block(evaluated, manifest) -> None:
    out, found, _ = evaluated
    rows = list(csv.reader(io.StringIO(manifest.read_text())))
    by_kind = {kind: [one for one in found.worst if one.kind == kind] for kind in ("missed", "false alarm")}
    patients = {kind: {rows[int(one.line) - 1][2] for one in ones} for kind, ones in by_kind.items()}
    assert patients == {"missed": {"CANARY-1", "CANARY-13"}, "false alarm": {"CANARY-20", "CANARY-32"}}
    shown = dict(zip([one.line for one in found.worst], pictures_of((out / "report.html").read_text()), strict=True))
    for one in by_kind["false alarm"]:
        pixels = np.asarray(Image.open(io.BytesIO(shown[one.line])).convert("RGB")).astype(int)
        lower = (pixels[len(pixels) // 2 :].max(axis=2) < 100).mean(axis=0) > 0.5  # columns of the two pictures
        left, _, middle, right = np.flatnonzero(np.diff(lower.astype(int)))[:4]
        hot = np.argwhere(((pixels[..., 0] - pixels[..., 2]) > 60)[:, : right + 1])
        rows = np.flatnonzero((pixels[:, left + 1 : right + 1].max(axis=2) < 100).mean(axis=1) > 0.3)
        side = rows[-1] - rows[0] + 1
        top = rows[-1] + 1 - side
        hot = hot[hot[:, 0] > top + side // 10]  # without the bright row at the edge
        row, column = (hot.mean(axis=0) - (top, right + 1 - side)) / side * 64
        assert abs(row - 26) < 1.5  # block 20 to 31
        assert abs(column - 36) < 1.5  # block 30 to 41
        assert hot[:, 1].min() > middle  # the original stays as it was
    assert "gradcam, logit per cell" in found.explained


def test_calibrated_probabilities_and_thresholds_are_the_bundle_s(manifest, tmp_path) -> None:
    learned = Calibration("single-logit", (0.5,), (0.3,), (0.5,), 40, 40)
    sets = conformal.fit(
        [[p] for p in np.linspace(0, 1, 40)],
        [[i >= 20] for i in range(40)],
        [str(i) for i in range(40)],
        head="single-logit",
        labels=[FINDING],
    )
    blobs = {calibration.BLOB: learned.to_bytes(), conformal.BLOB: sets.to_bytes()}
    found = evaluate(bundle(tmp_path / "b", blobs=blobs, threshold=0.6), manifest, tmp_path / "out", MEANT, FAST)
    cases = Scored.read(tmp_path / "out" / "predictions.csv", "single-logit")
    assert np.allclose(cases.probabilities, learned.probability(cases.logits))
    flagged = [cell == "1" for cell in cases.columns["flagged opacity"]]
    assert flagged == (cases.probabilities[:, 0] >= 0.6).tolist()
    assert found.score_name == "calibrated probability"
    assert not any("not calibrated" in line for line in found.caveats)
    assert any("does not say on whom it was trained" in line for line in found.caveats)
    held = {one.answer: one for one in found.coverage}
    sick = [sets.set_of(p).members for p, y in zip(cases.probabilities, cases.targets[:, 0], strict=True) if y]
    assert held[FINDING].covered.value == pytest.approx(np.mean([FINDING in members for members in sick]))
    assert held[FINDING].promised == pytest.approx(0.9)


def test_two_bundles_on_the_patients_that_neither_learned_from(evaluated, manifest, tmp_path) -> None:
    first = evaluated[2]
    other = json.dumps(Split({"CANARY-11": "training"}, 0, "by hand").table("pepper").to_dict()).encode()
    facts = {"name": "the other", "labels": ("pulmonary opacity",)}  # another word for it
    second = bundle(tmp_path / "b", level=0.97, blobs={"configs/split.json": other}, **facts)
    found = evaluate(first, manifest, tmp_path / "out", MEANT, FAST, against=second)
    (pair,) = found.comparisons
    assert found.against.name == "the other"
    assert pair.patients == 43  # 44 less patient 11
    assert pair.difference.value == pytest.approx(pair.first - pair.second)
    assert pair.correct.only_first > 10 > pair.correct.only_second  # the other hardly flags
    assert "Against the other" in (tmp_path / "out" / "report.html").read_text()


def test_only_a_side(evaluated, manifest, tmp_path) -> None:
    test_side = evaluate(evaluated[2], manifest, tmp_path / "a", MEANT, replace(FAST, side="test"))
    assert test_side.patients == 42  # patients 6 to 47
    assert test_side.cohort.known_patients == {}
    plain = manifest.with_name("plain.csv")
    rows = [row[:-1] for row in csv.reader(io.StringIO(manifest.read_text()))]
    with plain.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    with pytest.raises(UsageError) as told:
        evaluate(evaluated[2], plain, tmp_path / "b", MEANT, replace(FAST, side="sideways"))
    assert told.value.code == "bad-split"
    own = evaluate(evaluated[2], plain, tmp_path / "c", MEANT, replace(FAST, side="test"))  # the bundle's own table
    assert own.patients == 1
    assert own.labels[0].performance.auroc.value is None
    assert "Every case has opacity: only its sensitivity can be counted." in own.caveats
    assert (tmp_path / "c" / "report.html").is_file()


def test_nobody_left_is_a_leak(manifest, tmp_path) -> None:
    everybody = {f"CANARY-{n}": "training" for n in range(100)}
    blob = json.dumps(Split(everybody, 0, "by hand").table("salt").to_dict()).encode()
    made = bundle(tmp_path / "b", blobs={"configs/split.json": blob})
    with pytest.raises(UsageError, match="learned from every one of the 50 patients") as told:
        evaluate(made, manifest, tmp_path / "out", MEANT, FAST)
    assert told.value.code == "patient-leak"


@pytest.mark.parametrize(
    ("meant", "code"),
    [
        (None, "label-not-0-1"),
        (Labelling.binary(FINDING, ["Infiltraton"], ["No Finding"]), "unknown-label"),
        (Labelling.binary("nodule", ["Infiltration"], ["No Finding"]), "bundle-labels"),
        (Labelling.multilabel(["Infiltration", "Mass"]), "bundle-labels"),
    ],
)
def test_labels_that_do_not_fit(evaluated, manifest, tmp_path, meant, code) -> None:
    with pytest.raises((UsageError, ModelError)) as told:
        evaluate(evaluated[2], manifest, tmp_path / "out", meant, FAST)
    assert told.value.code == code


def test_labels_mean_what_they_meant_in_training(manifest, tmp_path, evaluated) -> None:
    account = json.dumps({"data": {"members": {FINDING: ["Infiltration"]}, "negative": ["No Finding"]}}).encode()
    found = evaluate(
        bundle(tmp_path / "b", blobs={"docs/training.json": account}), manifest, tmp_path / "out", None, FAST
    )
    assert found.labelling == {FINDING: ("Infiltration",), f"not {FINDING}": ("No Finding",)}
    assert found.patients == 48


def test_three_classes(manifest, tmp_path) -> None:
    labels = (FINDING, "mass", "healthy")
    made = bundle(tmp_path / "b", classes=3, labels=labels)
    text = manifest.read_text().replace("Infiltration|Mass,CANARY-13,", "Mass,CANARY-13,")
    manifest.with_name("three.csv").write_text(text.replace("Infiltration|Mass", "Infiltration"))
    meant = Labelling.parse("", classes="opacity=Infiltration; mass=Mass; healthy=No Finding")
    found = evaluate(made, manifest.with_name("three.csv"), tmp_path / "out", meant, replace(FAST, worst=1))
    # all that is not bright is "mass", the first of two equal logits
    assert found.overall.confusion == ((22, 1, 0), (0, 1, 0), (2, 22, 0))
    assert found.overall.classes["accuracy"].value == pytest.approx(23 / 48)
    told = Scored.read(tmp_path / "out" / "predictions.csv", "softmax")
    for k, name in enumerate(labels):  # decided by the card's threshold, which two classes at 0.5 or none may reach
        flagged = np.array([cell == "1" for cell in told.columns[f"flagged {name}"]])
        assert np.array_equal(flagged, told.probabilities[:, k] >= 0.5)
        assert found.labels[k].performance.tp == (flagged & (told.targets[:, k] == 1)).sum()
    healthy = told.probabilities[:, 2][told.targets[:, 2] == 1]
    missed = next(one for one in found.worst if one.label == "healthy")
    assert (missed.kind, missed.score) == ("missed", pytest.approx(healthy.min()))
    assert "most probable class" in (tmp_path / "out" / "report.html").read_text()


def test_frames_of_a_cine_are_scored_and_pooled(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(6):
        frames = rng.integers(0, 60, (9, 48, 48)).astype(float)
        frames[:, 0] = 255
        if patient % 2:
            frames[: 3 + patient, 10:22, 10:22] = 250  # in 4, 6 or 8 of 9 frames
        write_us(tmp_path / f"{patient}.dcm", frames, frame_ms=100.0)
        rows.append([f"{patient}.dcm", patient % 2, f"p{patient}"])
    with (tmp_path / "m.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", "label", "patient_id"], *rows])
    made = bundle(tmp_path / "b", transform="ultrasound", transform_options={"size": [64, 64]})
    options = replace(FAST, frames=True, rule="majority vote")
    found = evaluate(made, tmp_path / "m.csv", tmp_path / "out", None, options)
    images = Scored.read(tmp_path / "out" / "images.csv", "single-logit")
    cases = Scored.read(tmp_path / "out" / "predictions.csv", "single-logit")
    assert len(images) == 6 * 3  # 10 per second, every third
    assert found.cases == 6
    for row in range(6):
        votes = [
            p >= 0.5 for p, file in zip(images.probabilities[:, 0], images.files, strict=True) if file == f"{row}.dcm"
        ]
        assert cases.probabilities[row, 0] == pytest.approx(np.mean(votes), abs=1e-5)
    told = found.labels[0]
    assert told.by_image.cases == 18
    assert told.performance.threshold == 0.5
    assert told.performance.threshold_origin.startswith("half of the votes, each at 0.500")
    assert (told.performance.tp, told.performance.tn) == (3, 3)
