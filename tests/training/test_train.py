"""From a manifest to a bundle that screens, and back again after it was killed."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medcam.data.splits import HashedSplit
from medcam.errors import MedcamError, TrainingError, UsageError
from medcam.evaluation.evaluate import Options as EvaluationOptions
from medcam.evaluation.evaluate import evaluate
from medcam.explainers import explain
from medcam.models import load_bundle
from medcam.progress import Progress
from medcam.reliability.apply import CALIBRATED
from medcam.results import Results
from medcam.screening import Options as ScreeningOptions
from medcam.screening import screen
from medcam.training.options import Options
from medcam.training.plan import make_plan
from medcam.training.settings import Settings
from medcam.training.train import PREDICTIONS, train
from tests.training.conftest import Ran
from tests.training.planted import CANARY, CINES, OPTIONS, QUICK, X_RAYS, cine_options, write_cines, write_pictures

ROOT = Path(__file__).resolve().parents[2]


def predictions(ran: Ran) -> list[dict[str, str]]:
    with (ran.run / PREDICTIONS).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_bundle_says_what_it_is(ran: Ran) -> None:
    bundle = load_bundle(ran.out)
    card = bundle.card
    assert (card.labels, card.head, card.pipeline) == (("opacity",), "single-logit", X_RAYS)
    assert card.transform_options == {"size": [32, 32]}
    assert not card.demonstration
    assert card.layer == "stages"
    names = {"calibration.json", "conformal.json", "split.json"}
    assert {name for name in card.blobs_sha256 if name.startswith("configs")} == {f"configs/{name}" for name in names}
    assert bundle.blob("models/support.safetensors")
    assert (ran.out / "docs/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in ran.out.parent.iterdir() if path.name.startswith(".")]


def test_no_patient_is_on_two_sides_and_the_bundle_knows_each_one_s(ran: Ran) -> None:
    split = ran.outcome.plan.splits[0]
    table = HashedSplit.from_dict(json.loads((ran.out / "configs/split.json").read_text()))
    sides = {person: table.side_of(person) for person in split.sides}
    assert sides == dict(split.sides)
    assert set(sides.values()) == {"training", "validation", "calibration", "test"}
    tested = {row["patient_id"] for row in predictions(ran)}
    assert tested == {person for person, side in split.sides.items() if side == "test"}
    told = ran.trained.account.data.sides
    assert sum(counts["patients"] for counts in told.values()) == len(sides)
    assert sum(counts["rows"] for counts in told.values()) == ran.trained.account.data.used


def test_what_was_left_out_is_counted_and_said(ran: Ran) -> None:
    data = ran.trained.account.data
    assert data.unlabelled == {"unclear": 1}
    assert list(data.unusable.values()) == [1]
    assert data.used == data.rows - 2
    text = (ran.out / "docs/README.md").read_text()
    assert "because their label is in no group: 1 files (unclear 1)" in text
    assert f"because their file could not be used: 1 files ({next(iter(data.unusable))} 1)" in text


def test_one_person_under_two_names_is_warned_of(ran: Ran) -> None:
    (warning,) = ran.trained.account.data.warnings
    assert warning.startswith("exams of different patients that look nearly the same")
    assert f"Note: {warning}." in (ran.out / "docs/README.md").read_text()


def test_the_sides_of_a_split_column_are_kept_and_what_it_lacks_is_taken_from_training(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "p")
    lines = data.read_text().splitlines()
    people = [line.split(",")[2] for line in lines[1:]]
    stated = {person: "test" if int(person[-2:]) % 10 in (4, 7) else "train" for person in people[:-2]}
    split = ["split", *(stated.get(person, "train") for person in people)]
    data.write_text("\n".join(f"{line},{side}" for line, side in zip(lines, split, strict=True)) + "\n")
    plan = make_plan(X_RAYS, data, replace(OPTIONS, split_column=True))
    (sides,) = (one.sides for one in plan.splits)
    assert {person for person, side in sides.items() if side == "test"} == {p for p, s in stated.items() if s == "test"}
    assert set(sides.values()) == {"training", "validation", "calibration", "test"}


def test_nothing_in_a_bundle_names_a_patient_a_file_or_a_place(ran: Ran) -> None:
    for path in ran.out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert CANARY.encode() not in content, path
            assert str(ran.data.parent.parent).encode() not in content, path


def test_screening_uses_the_bundle_at_once_and_sees_what_training_saw(ran: Ran, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = predictions(ran)
    for row in rows:
        os.link(ran.data.parent / row["file"], folder / row["file"])
    options = ScreeningOptions(
        (X_RAYS,), {X_RAYS: str(ran.out)}, assume_anatomy="chest", uncertainty="none", device="cpu", workers=1
    )
    screen(folder, tmp_path / "results", options)
    results = Results.open(tmp_path / "results")
    cases = [results.case(key) for key in results.keys()]  # noqa: SIM118  # no mapping
    results.close()
    assert len(cases) == len(rows)
    assert {case.prediction.score_name for case in cases} == {CALIBRATED}
    threshold = ran.trained.account.calibration.thresholds[0]
    assert {case.prediction.threshold for case in cases} == {threshold.value}
    stated = sorted(float(row["probability opacity"]) for row in rows)
    np.testing.assert_allclose(sorted(case.prediction.score for case in cases), stated, atol=2e-3)
    for case in cases:
        assert case.prediction.conformal_set is not None
        assert case.prediction.support is not None
        assert not case.prediction.support.trained_on
        assert case.explanation.display_range == (0.0, ran.trained.bundle.card.full_colour["gradcam"])
        assert "demonstration" not in case.decision.text


def test_full_colour_is_the_median_peak_of_rightly_flagged_calibration_files(ran: Ran, tmp_path: Path) -> None:
    bundle, account = ran.trained.bundle, ran.trained.account
    split = ran.outcome.plan.splits[0]
    peaks = []
    for row in ran.outcome.plan.rows:
        if split.sides[row.patient_id] != "calibration" or "spot" not in row.label:
            continue
        values = np.asarray(Image.open(row.file), np.float32)
        low, high = np.percentile(values, (1, 99))
        x = torch.from_numpy((values - low) / (high - low)).float().clamp(0, 1)[None, None]
        told = explain(bundle.model, x, "hirescam", lambda output: output[:, 0], "stages")
        if (
            account.calibration.probability([[float(told.output[0, 0])]])[0, 0]
            >= account.calibration.thresholds[0].value
        ):
            peaks.append(float(told.evidence.max()))
    assert len(peaks) >= 3
    assert bundle.card.full_colour["hirescam"] == pytest.approx(float(np.median(peaks)), rel=0.01)


def test_evaluating_the_bundle_on_its_own_test_patients_gives_the_card_s_figures(ran: Ran, tmp_path: Path) -> None:
    found = evaluate(ran.out, ran.data, tmp_path / "e", options=EvaluationOptions(side="test"))
    mine, theirs = ran.trained.account.figures.labels[0], found.labels[0].performance
    assert (mine.cases, mine.positives, mine.tp, mine.fp) == (theirs.cases, theirs.positives, theirs.tp, theirs.fp)
    assert mine.auroc.value == pytest.approx(theirs.auroc.value)
    assert mine.auroc.low == pytest.approx(theirs.auroc.low)
    assert mine.threshold == theirs.threshold


# stopping and going on


def test_a_killed_training_goes_on_to_the_weights_of_an_unbroken_one(ran: Ran, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    code = f"""
import sys
from pathlib import Path
from medcam.training.train import train
from tests.training.planted import OPTIONS, X_RAYS
from tests.training.test_train import Dying
train(X_RAYS, Path({str(ran.data)!r}), Path({str(out)!r}), OPTIONS, Dying())
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert not out.exists()
    assert (tmp_path / "bundle.run" / "fit" / "last.ckpt").is_file()
    again = Listening()
    outcome = train(X_RAYS, ran.data, out, OPTIONS, again)
    assert [line.split(":")[0] for line in again.lines if line.startswith("epoch")] == [
        f"epoch {number} of 4" for number in (2, 3, 4)
    ]
    assert outcome.trained[0].bundle.sha256 == ran.trained.bundle.sha256
    blobs = outcome.trained[0].bundle.card.blobs_sha256
    learned = [name for name in blobs if name.startswith(("configs", "models"))]
    assert {name: blobs[name] for name in learned} == {
        name: ran.trained.bundle.card.blobs_sha256[name] for name in learned
    }


class Listening(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def plain(self) -> Progress:
        return self


class Dying(Listening):
    """Kills its process, as a full machine would, when the second epoch is told."""

    def say(self, line: str) -> None:
        if line.startswith("epoch 2"):
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)


def test_the_same_command_again_gives_the_same_bundle_and_another_one_is_refused(ran: Ran) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in ran.out.rglob("*") if path.is_file()}
    train(X_RAYS, ran.data, ran.out, replace(OPTIONS, workers=2))
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before} == before
    with pytest.raises(UsageError, match=r"has another training \(rate 0.02, now 0.01\)"):
        train(X_RAYS, ran.data, ran.out, replace(OPTIONS, settings=replace(QUICK, rate=0.01)))
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before} == before


def test_what_medcam_has_not_made_is_left_alone(ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else than a bundle"):
        train(X_RAYS, ran.data, tmp_path / "thesis", replace(OPTIONS, force=True))
    (tmp_path / "new.run").mkdir()
    (tmp_path / "new.run" / "notes").write_text("mine")
    with pytest.raises(UsageError, match="holds something else; move it"):
        train(X_RAYS, ran.data, tmp_path / "new", replace(OPTIONS, force=True))
    (tmp_path / "there" / "configs").mkdir(parents=True)
    with pytest.raises(UsageError, match="is there already; choose another --out, or --force"):
        train(X_RAYS, ran.data, tmp_path / "there", OPTIONS)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.run", "there", "thesis"]


def test_nan_in_the_loss_ends_the_training_with_its_name_and_leaves_no_bundle(ran: Ran, tmp_path: Path) -> None:
    wild = replace(OPTIONS, settings=replace(QUICK, rate=1e30, schedule="cosine", warm_up=0.0, clip=1e30))
    with pytest.raises(TrainingError) as refused:
        train(X_RAYS, ran.data, tmp_path / "bundle", wild)
    assert refused.value.code == "nan-loss"
    assert not (tmp_path / "bundle").exists()


# what cannot be meant is said before anything is decoded


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "resnet19"}, "unknown-network"),
        ({"model": "video_resnet18", "arguments": {}}, "network-input"),
        ({"size": (32, 32, 32)}, "bad-size"),
        ({"positive": "spoot"}, "unknown-label"),
        ({"positive": None, "negative": None, "classes": "spot; clear"}, "other-finding"),
        ({"where": {"sex": "X"}}, "bad-where"),
        ({"initial": "/nowhere.safetensors"}, "no-weights"),
        ({"split_column": True}, "bad-split-column"),
        ({"split_column": True, "folds": 3}, "bad-folds"),
        ({"folds": 200}, "too-few-patients"),
        ({"calibration": "isotonic"}, "too-few-patients"),
    ],
)
def test_what_cannot_be_meant(ran: Ran, tmp_path: Path, change: dict[str, Any], code: str) -> None:
    with pytest.raises(MedcamError) as refused:
        train(X_RAYS, ran.data, tmp_path / "bundle", replace(OPTIONS, **change))
    assert refused.value.code == code
    assert not (tmp_path / "bundle").exists()


def test_a_side_without_the_finding_is_refused_before_training(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "p", patients=8)
    lines = data.read_text().splitlines()
    sides = {0: "train", 1: "train", 2: "val", 3: "val", 4: "cal", 5: "cal", 6: "train", 7: "test"}
    split = ["split", *(sides.get(int(line.split(",")[2][-2:]), "") for line in lines[1:-2])]
    data.write_text("\n".join(f"{line},{side}" for line, side in zip(lines, split, strict=False)) + "\n")
    with pytest.raises(UsageError, match="Nobody with opacity is on the test side") as refused:
        train(X_RAYS, data, tmp_path / "bundle", replace(OPTIONS, split_column=True))
    assert refused.value.code == "too-few-patients"


def test_weights_and_sampler_together_are_refused() -> None:
    with pytest.raises(UsageError) as refused:
        Options(settings=Settings(alpha="counts", balance="patient"))
    assert refused.value.code == "double-correction"


# cines


@pytest.fixture(scope="module")
def cines(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("cines")
    data = write_cines(folder / "in")
    return Ran(data, folder / "bundle", train(CINES, data, folder / "bundle", cine_options()))


def test_a_cine_s_logit_is_the_mean_of_its_frames_and_screening_takes_the_same_frames(
    cines: Ran, tmp_path: Path
) -> None:
    bundle = load_bundle(cines.out)
    assert type(bundle.model).__name__ == "Video"
    assert bundle.card.layer == "encoder.stages"
    x = torch.rand(2, 1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        frames = torch.stack([bundle.model.encoder(x[:, :, t]) for t in range(5)])  # type: ignore[operator, union-attr]
        torch.testing.assert_close(bundle.model(x), frames.mean(0))
    folder = tmp_path / "in"
    folder.mkdir()
    rows = predictions(cines)
    for row in rows:
        os.link(cines.data.parent / row["file"], folder / row["file"])
    options = ScreeningOptions(
        (CINES,), {CINES: str(cines.out)}, assume_anatomy="lung", uncertainty="none", device="cpu", workers=1
    )
    screen(folder, tmp_path / "results", options)
    results = Results.open(tmp_path / "results")
    scores = [results.case(key).prediction.score for key in results.keys()]  # noqa: SIM118
    results.close()
    stated = [float(row["probability B-lines or consolidation"]) for row in rows]
    np.testing.assert_allclose(sorted(scores), sorted(stated), atol=2e-3)
    assert "| Frames or tiles | mean of their logits |" in (cines.out / "docs/README.md").read_text()


# options that reach the weights


def test_training_begins_with_given_weights_and_keeps_half_of_each_number(ran: Ran, tmp_path: Path) -> None:
    weights = ran.out / "models" / "model.safetensors"
    settings = replace(QUICK, epochs=1, rate=1e-9)
    options = replace(OPTIONS, initial=str(weights), half=True, settings=settings)
    made = train(X_RAYS, ran.data, tmp_path / "bundle", options).trained[0]
    before, after = load_file(weights), load_file(tmp_path / "bundle" / "models" / "model.safetensors")
    assert {value.dtype for value in after.values() if value.is_floating_point()} == {torch.float16}
    name = "stages.1.0.conv1.weight"
    torch.testing.assert_close(after[name].float(), before[name], atol=1e-6, rtol=1e-3)
    assert made.account.network.initial.startswith("model.safetensors (medcam names)")
    assert made.account.weights_sha256 == made.bundle.sha256
