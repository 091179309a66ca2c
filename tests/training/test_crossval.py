"""Every patient is tested once, by a network that has not seen the patient; the table says no more than that shows."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medcam.data.splits import HashedSplit
from medcam.evaluation.table import Scored
from medcam.models import load_bundle
from medcam.training.crossval import Spread, pooled
from medcam.training.train import train
from tests.training.conftest import Ran
from tests.training.planted import CANARY, OPTIONS, QUICK, X_RAYS, write_pictures

FOLDS = 3


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("folds")
    data = write_pictures(folder / "in", patients=36)
    options = replace(OPTIONS, folds=FOLDS, settings=replace(QUICK, epochs=2))
    outcome = train(X_RAYS, data, folder / "bundle", options)
    return Ran(data, folder / "bundle.folds", outcome)


def rows_of(folds: Ran) -> list[dict[str, str]]:
    with (folds.out.with_name("bundle.folds.run") / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_patient_is_tested_once_by_a_fold_that_learned_nothing_of_the_patient(folds: Ran) -> None:
    people = {row.patient_id for row in folds.outcome.plan.rows}
    rows = rows_of(folds)
    assert {row["patient_id"] for row in rows} == people
    by_fold = [{row["patient_id"] for row in rows if row["fold"] == str(n)} for n in range(1, FOLDS + 1)]
    assert sum(map(len, by_fold)) == len(people)
    for number, tested in enumerate(by_fold, start=1):
        folder = folds.out / f"fold_{number}"
        load_bundle(folder)
        table = HashedSplit.from_dict(json.loads((folder / "configs/split.json").read_text()))
        sides = {person: table.side_of(person) for person in people}
        assert {person for person, side in sides.items() if side == "test"} == tested
        assert set(sides.values()) == {"training", "validation", "calibration", "test"}
    assert len({(folds.out / f"fold_{n}" / "models/model.safetensors").read_bytes() for n in range(1, FOLDS + 1)}) == 3
    assert not folds.out.with_name("bundle").exists()


def test_the_table_s_figures_are_those_of_its_predictions(folds: Ran) -> None:
    rows, data = rows_of(folds), json.loads((folds.out / "folds.json").read_text())
    truth = np.array([float(row["target opacity"]) for row in rows])
    score = np.array([float(row["probability opacity"]) for row in rows])
    fold = np.array([int(row["fold"]) for row in rows])
    whole = data["pooled"][0]
    assert whole["auroc"]["value"] == pytest.approx(roc_auc_score(truth, score))
    spread = data["spreads"]["opacity"]["auroc"]
    own = [roc_auc_score(truth[fold == n], score[fold == n]) for n in range(1, FOLDS + 1)]
    assert spread["folds"] == pytest.approx(own)
    assert spread["mean"] == pytest.approx(np.mean(own))
    assert spread["sd"] == pytest.approx(np.std(own, ddof=1))
    cuts = np.array([one.account.calibration.thresholds[0].value for one in folds.outcome.trained])
    flagged = score >= cuts[fold - 1]
    assert (whole["tp"], whole["fn"]) == (int((flagged & (truth == 1)).sum()), int((~flagged & (truth == 1)).sum()))
    text = (folds.out / "README.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| AUROC | "))
    numbers = [float(word) for word in re.findall(r"\d\.\d{3}", line)]
    expected = [*own, np.mean(own), np.std(own, ddof=1), roc_auc_score(truth, score)]
    assert numbers[: FOLDS + 3] == pytest.approx(expected, abs=5e-4)


def test_the_table_names_nobody(folds: Ran) -> None:
    for path in folds.out.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path


def test_a_spread_over_folds_by_hand() -> None:
    assert Spread.of([0.8, None, 0.6]) == Spread((0.8, None, 0.6), pytest.approx(0.7), pytest.approx(0.02**0.5))
    assert Spread.of([0.5]) == Spread((0.5,), 0.5, None)
    assert Spread.of([None]).mean is None


def test_a_patient_in_two_tests_is_no_cross_validation() -> None:
    first = Scored.of([1.0, -1.0], [1, 0], ["a", "b"], ["opacity"], "single-logit")
    second = Scored.of([1.0, -1.0], [1, 0], ["c", "b"], ["opacity"], "single-logit")
    with pytest.raises(ValueError, match="tested by two folds"):
        pooled([first, second], [[0.5], [0.5]])


def test_each_fold_s_own_threshold_flags_its_patients() -> None:
    first = Scored.of([0.0, 0.0], [1, 0], ["a", "b"], ["opacity"], "single-logit")
    second = Scored.of([0.0], [1], ["c"], ["opacity"], "single-logit")
    scored, flagged = pooled([first, second], [[0.6], [0.4]])
    assert flagged[:, 0].tolist() == [False, False, True]
    assert scored.columns["fold"] == ("1", "1", "2")
