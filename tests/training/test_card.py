"""The model card says what happened: each of its numbers is had again from the predictions, and each key is there."""

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, matthews_corrcoef, roc_auc_score

from medcam.errors import UsageError
from medcam.evaluation.bootstrap import Estimate
from medcam.evaluation.table import Scored
from medcam.pipeline import shelf
from medcam.training._card_figures import _fitted
from medcam.training._markdown import plain, table, told
from medcam.training.account import Account
from medcam.training.answers import Answers
from medcam.training.card import readme
from medcam.training.figures import figures
from medcam.training.learned import Learned, learn
from medcam.training.train import PREDICTIONS
from tests.training.conftest import Ran
from tests.training.planted import X_RAYS


def cases(ran: Ran) -> dict[str, npt.NDArray[np.float64]]:
    """Truth, calibrated and own probability of each test case from the files' predictions, by another way."""
    with (ran.run / PREDICTIONS).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    exams = list(dict.fromkeys(row["exam"] for row in rows))
    assert len(exams) < len(rows)
    scale, offset = (
        np.array(part) for part in (ran.trained.account.calibration.scale, ran.trained.account.calibration.offset)
    )
    found = []
    for exam in exams:
        own = [row for row in rows if row["exam"] == exam]
        raw = np.mean([1 / (1 + np.exp(-float(row["logit opacity"]))) for row in own])
        z = scale[0] * np.log(raw / (1 - raw)) + offset[0]
        found.append((max(float(row["target opacity"]) for row in own), 1 / (1 + np.exp(-z)), raw))
    truth, probability, raw = np.array(found).T
    return {"truth": truth, "probability": probability, "raw": raw}


def cells(text: str, first: str) -> list[str]:
    """Of the first table row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_card_s_figures_are_those_of_the_predictions(ran: Ran) -> None:
    text, seen = (ran.out / "docs/README.md").read_text(), cases(ran)
    truth, score = seen["truth"], seen["probability"]
    yes = score >= ran.trained.account.calibration.thresholds[0].value
    sick, healthy = truth == 1, truth == 0
    expected = {
        "AUROC": roc_auc_score(truth, score),
        "average precision": average_precision_score(truth, score),
        "sensitivity": yes[sick].mean(),
        "specificity": (~yes[healthy]).mean(),
        "precision": truth[yes].mean(),
        "MCC": matthews_corrcoef(truth, yes),
    }
    for name, value in expected.items():
        assert float(cells(text, name)[0].split()[0]) == pytest.approx(value, abs=6e-4), name
    before, after = cells(text, "opacity: Brier score")[:2]
    assert float(before.split()[0]) == pytest.approx(brier_score_loss(truth, seen["raw"]), abs=6e-4)
    assert float(after.split()[0]) == pytest.approx(brier_score_loss(truth, score), abs=6e-4)
    found = f"{int((yes & sick).sum())} found, {int((~yes & sick).sum())} missed, {int((yes & healthy).sum())} false"
    assert found in text


def test_the_worst_errors_can_be_found_by_whoever_has_the_data_and_by_nobody_else(ran: Ran) -> None:
    errors = ran.trained.account.figures.errors
    assert errors, "the planted labels are wrong for a seventh of the patients"
    salt = json.loads((ran.out / "configs/split.json").read_text())["salt"]
    text = (ran.out / "docs/README.md").read_text()
    named = {
        hashlib.sha256((salt + row.columns["file"]).encode()).hexdigest()[:16]: row for row in ran.outcome.plan.rows
    }
    for error in errors:
        row = named[error.file]
        assert error.patient == hashlib.sha256((salt + row.patient_id).encode()).hexdigest()[:16]
        assert (error.kind == "missed") == ("spot" in row.label)
        assert f"| {error.kind} | {error.score:.3f} | {error.file} | {error.patient} |" in text
    missed = [error.score for error in errors if error.kind == "missed"]
    assert missed == sorted(missed)


def test_every_key_that_a_model_card_needs_is_there(ran: Ran) -> None:
    text = (ran.out / "docs/README.md").read_text()
    for words in (
        "Research use only",
        "## Intended use", "Out of scope",
        "Reference standard", "- opacity: spot, two spots", "- no opacity: clear", "- licence: CC0 92", "- sex: ",
        "## Shortcuts",
        "hold-out (training 0.6, validation 0.1, calibration 0.15, test 0.15)", "seed 3",
        "![Loss and validation AUROC over the epochs](learning_curve.png)",
        "## Performance", "can never show a sensitivity of 95 %",
        "## Reliability", "Youden on", "Conformal sets", "Support: ",
        "## Subgroups", "## Failures", "## Limits", '"Not flagged" never means normal',
        "A new training makes a new bundle",
    ):  # fmt: skip
        assert words in text, words
    assert "demonstration" not in text.lower()


def test_the_hashes_in_the_card_are_those_of_the_files(ran: Ran) -> None:
    text = (ran.out / "docs/README.md").read_text()
    hashed = ["configs/calibration.json", "configs/conformal.json", "configs/split.json", "models/support.safetensors"]
    for name in (*hashed, "models/model.safetensors", "docs/learning_curve.png"):
        assert cells(text, name) == [hashlib.sha256((ran.out / name).read_bytes()).hexdigest()]
    assert cells(text, "the manifest") == [hashlib.sha256(ran.data.read_bytes()).hexdigest()]


def test_the_account_in_the_bundle_makes_the_same_card(ran: Ran) -> None:
    data = json.loads((ran.out / "docs/training.json").read_text())
    account = Account.from_dict(data)
    assert readme(account, shelf().load(X_RAYS)) == (ran.out / "docs/README.md").read_text()


def test_words_of_a_manifest_cannot_break_the_card() -> None:
    assert plain("a|b\n<script>") == "a\\|b &lt;script>"
    assert table(("x", "y"), [("a|b", 1)]) == "| x | y |\n|---|---|\n| a\\|b | 1 |"


def test_figures_say_when_they_have_no_interval() -> None:
    assert told(Estimate(0.5, 0.25, 0.75)) == "0.500 (0.250 to 0.750)"
    assert told(Estimate(0.5)) == "0.500 (no interval)"
    assert told(Estimate(None)) == "not defined"


# several labels, without a training: what a network might have said


def answers(head: str, labels: tuple[str, ...], count: int, seed: int, prefix: str) -> Answers:
    """Logits that know something of the truth, two files of each patient."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, len(labels), count)
    targets = np.eye(len(labels))[classes] if head == "softmax" else random.integers(0, 2, (count, len(labels)))
    logits = 2.0 * (targets - 0.5) + random.normal(0, 1, targets.shape)
    patients = [f"{prefix}{row // 2}" if head != "softmax" else f"{prefix}{row}" for row in range(count)]
    files = [f"{prefix}{row}.png" for row in range(count)]
    scored = Scored.of(logits, targets, patients, labels, head, files=files)  # type: ignore[arg-type]
    return Answers(
        scored, np.concatenate([logits, random.normal(size=(count, 3))], axis=1).astype(np.float32), "stages"
    )


def learned_from(head: str, labels: tuple[str, ...]) -> Learned:
    training, calibration = answers(head, labels, 80, 0, "t"), answers(head, labels, 80, 1, "c")
    return learn(training, calibration, 0.1, None, "salt")


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_several_labels_have_a_threshold_and_figures_each_and_means_of_all(head: str) -> None:
    labels = ("healthy", "opacity", "mass")
    learned = learned_from(head, labels)
    assert len(learned.calibration.thresholds) == 3
    test = answers(head, labels, 120, 2, "x")
    found = figures(test, learned, "salt")
    probability = test.calibrated(learned.calibration).probabilities
    for k, one in enumerate(found.labels):
        assert one.auroc.value == pytest.approx(roc_auc_score(test.scored.targets[:, k], probability[:, k]))
        assert one.threshold == learned.calibration.thresholds[k].value
    assert found.overall is not None
    assert found.overall.macro["auroc"].value == pytest.approx(np.mean([one.auroc.value for one in found.labels]))
    right = float((probability.argmax(1) == test.scored.targets.argmax(1)).mean())
    told_classes: Mapping[str, Estimate] = found.overall.classes
    assert (told_classes["accuracy"].value == pytest.approx(right)) if head == "softmax" else (told_classes == {})


def test_a_label_that_no_calibration_patient_has_keeps_one_half_and_says_why() -> None:
    labels = ("opacity", "mass")
    training, calibration = answers("sigmoid", labels, 80, 0, "t"), answers("sigmoid", labels, 80, 1, "c")
    never = calibration.scored.targets.copy()
    never[:, 1] = 0
    told_cases = replace(calibration, scored=replace(calibration.scored, targets=never))
    cut = learn(training, told_cases, 0.1, None, "salt").calibration.thresholds[1]
    assert cut.value == 0.5
    assert cut.origin == "one half, because all or no calibration patients have mass"


def test_a_fixed_sensitivity_finds_so_many_of_the_sick() -> None:
    training, calibration = answers("sigmoid", ("a", "b"), 80, 0, "t"), answers("sigmoid", ("a", "b"), 200, 1, "c")
    learned = learn(training, calibration, 0.1, 0.9, "salt")
    for cut in learned.calibration.thresholds:
        assert cut.sensitivity >= 0.85
        assert cut.origin.startswith("sensitivity 90%")


def test_steps_are_learned_for_each_label_refused_for_few_and_told() -> None:
    training, calibration = answers("sigmoid", ("a", "b"), 80, 0, "t"), answers("sigmoid", ("a", "b"), 400, 1, "c")
    found = learn(training, calibration, 0.1, None, "salt", "isotonic").calibration
    probability = calibration.calibrated(found).probabilities
    for k, cut in enumerate(found.thresholds):
        steps = found.steps[k]
        assert steps is not None
        assert _fitted(found, k) == f"{steps.count} steps"
        np.testing.assert_allclose(probability[:, k], steps.at(calibration.scored.logits[:, k]))
        assert len(np.unique(probability[:, k])) == steps.count  # equal within a step to the last bit
        flagged, sick = probability[:, k] >= cut.value, calibration.scored.targets[:, k] > 0.5
        assert cut.sensitivity == pytest.approx(flagged[sick].mean())
    with pytest.raises(UsageError, match="take --calibration scaling") as refused:
        learn(training, answers("sigmoid", ("a", "b"), 80, 1, "c"), 0.1, None, "salt", "isotonic")
    assert refused.value.code == "too-few-patients"
    few = learn(training, answers("sigmoid", ("a", "b"), 80, 1, "c"), 0.1, None, "salt", "auto").calibration
    assert few.kind == "scaling"
