"""Two networks on pictures of sixty patients: who is counted, who is paired, what the view tells without a picture."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medcam.evaluation.table import Scored
from medcam.protocols import chest_xray_pneumonia_2025 as protocol
from medcam.protocols._chest_xray_questions import answer
from medcam.protocols._networks_compared import mean_of
from medcam.protocols._runs import Run
from medcam.protocols.base import Setting
from medcam.training.options import Options
from medcam.training.settings import Settings
from tests.training.planted import picture, write_rows

NETWORKS = ("mobilenet_v3_small", "vit_small")
LABELS = "opacity=Infiltration+Pneumonia+Consolidation,Effusion,Mass,No Finding"
TRAININGS = {
    "all_views": {name: {"model": name} for name in NETWORKS},
    "pa": {"vit_small": {"model": "vit_small", "where": {"view_or_probe": "PA"}}},
    "all_findings": {"vit_small": {"model": "vit_small", "positive": None, "negative": None, "multilabel": LABELS}},
}


def write_x_rays(folder: Path) -> Path:
    """Sixty patients, a third without an opacity; AP goes along with it; and one with another finding."""
    random, rows = np.random.default_rng(0), []
    folder.mkdir()
    for patient in range(60):
        sick = patient % 3 > 0
        view = "AP" if patient % (3 if sick else 10) == 2 else "PA"
        Image.fromarray(picture(random, sick)).save(folder / f"{patient}.png")
        label = ("Infiltration|Mass", "Pneumonia", "Consolidation")[patient // 3 % 3] if sick else "No Finding"
        facts = {"view_or_probe": view, "pool": "ab"[patient % 2], "width": 32}
        rows.append({"file": f"{patient}.png", "label": label, "patient_id": f"p{patient}", **facts})
    rows[-1]["label"] = "Cardiomegaly"
    for row in rows[:12]:
        row["label"] += "|Effusion" if row["label"] != "No Finding" else ""
    return write_rows(folder, rows)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, str]]]:
    folder = tmp_path_factory.mktemp("x-rays")
    path = write_x_rays(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "TRAININGS", TRAININGS)
        patch.setattr(protocol, "Settings", lambda **more: Settings(**{**more, "epochs": 1, "per_epoch": 16}))
        patch.setattr(protocol, "Options", lambda **more: Options(**{**more, "size": (32,), "folds": 2}))
        sections = protocol.ChestXrayPneumonia2025().run(Setting(path.parent, folder / "work"))
    with path.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["label"] != "Cardiomegaly"]
    return "\n".join(sections), rows


def test_every_patient_with_an_answer_is_tested_once(page: tuple[str, list[dict[str, str]]]) -> None:
    text, rows = page
    sick = [row for row in rows if row["label"] != "No Finding"]
    assert len(rows) == 59
    assert f"{len(rows)} images of {len(rows)} patients, {len(sick)} with an opacity ({len(sick)} patients)" in text
    for name in NETWORKS:
        for view in ("PA", "AP"):
            seen = [row for row in rows if row["view_or_probe"] == view]
            healthy = sum(row["label"] == "No Finding" for row in seen)
            assert f"| {name}, trained on all views | {view} | {len(seen)} | {healthy} | " in text
        for pool in "ab":
            seen = [row for row in rows if row["pool"] == pool]
            healthy = sum(row["label"] == "No Finding" for row in seen)
            assert f"| {name}, trained on all views | {pool} | {len(seen)} | {healthy} | " in text
    frontal = [row for row in rows if row["view_or_probe"] == "PA"]
    assert f"trained on PA only | PA | {len(frontal)} | " in text


def test_a_network_of_all_findings_learns_from_every_image_and_answers_for_those_that_can_be_asked(
    page: tuple[str, list[dict[str, str]]],
) -> None:
    text, rows = page
    assert "learned 4 labels at once from every image there is: 60 images of 60 patients" in text
    assert f"({len(rows)} images; other folds" in text
    for view in ("PA", "AP"):
        assert f"trained on all findings | {view} | {sum(row['view_or_probe'] == view for row in rows)} | " in text


def test_the_answer_of_a_network_of_all_findings_is_its_odds_of_the_finding_over_those_of_none() -> None:
    labels = ("opacity", "Mass", "No Finding")
    targets = [[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    probabilities = np.array([[0.5, 0.9, 0.5], [0.9, 0.9, 0.1], [0.2, 0.5, 0.8], [0.8, 0.1, 0.5]])
    told = answer(Scored.of(np.zeros((4, 3)), targets, list("abcd"), labels, "sigmoid", probabilities=probabilities))
    assert told.patients == ("a", "c", "d")
    assert told.targets[:, 0].tolist() == [1, 0, 1]
    np.testing.assert_allclose(told.probabilities[:, 0], [0.5, 1 / 17, 0.8])  # odds 1 / 1, (1 / 4) / 4, 4 / 1


def test_networks_are_paired_on_the_same_patients(page: tuple[str, list[dict[str, str]]]) -> None:
    (line,) = [line for line in page[0].splitlines() if line.startswith("| mobilenet_v3_small less vit_small |")]
    only = [int(cell) for cell in line.split("|")[4].split("/")]
    assert sum(only) <= len(page[1])
    assert "not defined" not in line


def test_the_view_alone_tells_what_scikit_learn_says(page: tuple[str, list[dict[str, str]]]) -> None:
    sick = [row["label"] != "No Finding" for row in page[1]]
    portable = [row["view_or_probe"] == "AP" for row in page[1]]
    assert f"| AP view, as it stands | {roc_auc_score(sick, portable):.3f} |" in page[0]


def test_the_mean_of_networks_ranks_by_the_mean_of_their_probabilities() -> None:
    targets, patients = np.array([[1.0], [0.0], [1.0], [0.0]]), ["a", "b", "c", "d"]

    def run(*probabilities: float) -> Run:
        values = np.array(probabilities)[:, None]
        scored = Scored.of(values, targets, patients, ("opacity",), "single-logit", probabilities=values)
        return Run("", (), scored, values > 0.5)

    told = mean_of([run(0.9, 0.1, 0.2, 0.4), run(0.5, 0.6, 0.9, 0.1)])  # means 0.7, 0.35, 0.55, 0.25
    assert told is not None
    assert told.auroc.value == 1.0
