"""One label for a clip or a slide: attention finds what was planted, and screening says what training said."""

import csv
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcam.casework import Answer
from medcam.errors import UsageError
from medcam.evaluation.evaluate import Options as EvaluationOptions
from medcam.evaluation.evaluate import evaluate
from medcam.findings import Case
from medcam.grid import Grid
from medcam.models import load_bundle
from medcam.models._attention import FEATURES, Attending
from medcam.pipeline import shelf
from medcam.reliability.judging import TILES_DISTURBED
from medcam.reliability.support import BLOB, Support
from medcam.results import Results
from medcam.scoring import Scorer
from medcam.screening import Options as ScreeningOptions
from medcam.screening import screen
from medcam.study import Identifiers, Pixels, Series
from medcam.training.bagging import usual_batch
from medcam.training.plan import make_plan
from medcam.training.train import PREDICTIONS, train
from tests.training.conftest import Ran
from tests.training.planted import (
    CINES,
    CLIP_STEP,
    OPTIONS,
    SIZE,
    SLIDES,
    TINY,
    X_RAYS,
    bag_options,
    patch,
    write_clips,
    write_exams,
    write_pictures,
    write_rows,
)

Truth = dict[str, tuple[int, int, int]]


def predictions(ran: Ran) -> dict[str, dict[str, str]]:
    with (ran.run / PREDICTIONS).open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def evaluated(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


# clips


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Truth]:
    folder = tmp_path_factory.mktemp("clips")
    data, truth = write_clips(folder / "in")
    return Ran(data, folder / "bundle", train(CINES, data, folder / "bundle", bag_options("video_resnet18"))), truth


@pytest.fixture(scope="module")
def screened(clips: tuple[Ran, Truth], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """The test patients' clips, by file."""
    ran, _ = clips
    folder = tmp_path_factory.mktemp("screened")
    files = {}
    for file in predictions(ran):
        os.link(ran.data.parent / file, folder / file)
        digest = hashlib.sha256((folder / file).read_bytes()).digest()
        files[hashlib.sha256(digest).hexdigest()] = file
    options = ScreeningOptions((CINES,), {CINES: str(ran.out)}, assume_anatomy="lung", device="cpu", workers=1)
    screen(folder, folder / "results", options)
    results = Results.open(folder / "results")
    cases = [results.case(key) for key in results.keys()]  # noqa: SIM118  # no mapping
    results.close()
    return {files[case.provenance.source_hash]: case for case in cases}


COLUMN = "probability B-lines or consolidation"


def test_screening_says_of_a_clip_what_training_said(clips: tuple[Ran, Truth], screened: dict[str, Case]) -> None:
    told = predictions(clips[0])
    assert set(screened) == set(told)
    for file, case in screened.items():
        assert case.prediction.score == pytest.approx(float(told[file][COLUMN]), abs=2e-3)
    area = [
        (case.prediction.score, float(told[file]["target B-lines or consolidation"])) for file, case in screened.items()
    ]
    assert min(score for score, sick in area if sick) > max(score for score, sick in area if not sick)


def test_attention_lies_on_the_two_frames_and_the_evidence_in_the_spot(
    clips: tuple[Ran, Truth], screened: dict[str, Case]
) -> None:
    _, truth = clips
    sick = [file for file in screened if file in truth]
    assert len(sick) >= 2
    for file in sick:
        case, (first, row, column) = screened[file], truth[file]
        weights = case.prediction.part_weights
        assert len(weights) == len(case.prediction.part_scores) == 9 + int(file[:2]) % 4
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        assert weights[first] + weights[first + 1] > 0.8  # of two in nine to twelve frames
        shown = case.explanation
        cell = np.unravel_index(int(shown.evidence.argmax()), shown.evidence.shape)
        frame, y, x = case.grid.index(shown.grid.position([float(i) for i in cell]))
        assert frame / CLIP_STEP in (first, first + 1)
        assert row - 1 <= y <= row + 8
        assert column - 1 <= x <= column + 8
        inside = shown.evidence[[first, first + 1]].clip(0).sum() / shown.evidence.clip(0).sum()
        assert inside > 0.9, inside
        assert shown.spread is not None
        assert any("attention" in note for note in shown.notes)


def test_evidence_is_the_frame_s_own_times_its_weight(clips: tuple[Ran, Truth]) -> None:
    """And the clip's logit is all of it with the bias, through the bundle as it was saved."""
    bundle = load_bundle(clips[0].out)
    assert bundle.card.layer == "encoder.head.map"
    assert bundle.card.pooling == ""
    halves = Attending.of(bundle.model)
    assert halves is not None
    cine = torch.rand(1, 1, 7, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    from medcam.explainers import explain

    explained = explain(bundle.model, cine, "hirescam", bundle.odds, bundle.card.layer)
    alone = explain(halves.encoder, cine[0].transpose(0, 1), "hirescam", bundle.odds, "head.map")
    weights = halves.look(cine[0].transpose(0, 1), [7]).weights.detach()
    torch.testing.assert_close(explained.evidence[0, 0], alone.evidence[:, 0] * weights[:, None, None])
    bias = halves.encoder.head.bias.detach()
    torch.testing.assert_close(explained.evidence.sum() + bias[0], explained.scores[0, 0])


def test_support_knows_what_the_head_sees(clips: tuple[Ran, Truth], screened: dict[str, Case]) -> None:
    ran, _ = clips
    content = load_bundle(ran.out).blob(BLOB)
    assert content is not None
    assert Support.from_bytes(content).layer == FEATURES
    assert all(case.prediction.support is not None for case in screened.values())
    assert not any(case.prediction.support.trained_on for case in screened.values() if case.prediction.support)


def test_the_card_says_what_was_taught_and_patients_stay_whole(clips: tuple[Ran, Truth]) -> None:
    ran, _ = clips
    text = (ran.out / "docs/README.md").read_text()
    assert "| Frames or tiles | attention-weighted mean of their logits |" in text
    assert "Attention says which frames or tiles made the score" in text
    sides = ran.outcome.plan.splits[0].sides
    assert {f"patient {int(file[:2])}" for file in predictions(ran)} == {p for p, s in sides.items() if s == "test"}
    assert json.loads((ran.out / "configs/metadata.json").read_text())["medcam"]["transform"] == "ultrasound"


def test_evaluation_says_of_clips_of_any_length_what_training_said(clips: tuple[Ran, Truth], tmp_path: Path) -> None:
    ran, _ = clips
    found = evaluate(ran.out, ran.data, tmp_path, options=EvaluationOptions(side="test", draws=50, workers=1))
    told = predictions(ran)
    assert (found.cases, found.images) == (len(told), len(told))
    for row in evaluated(tmp_path):
        assert float(row[COLUMN]) == pytest.approx(float(told[row["file"]][COLUMN]), abs=1e-4)
    assert [one.series for one in found.referrals] == [len(told)]


# slides


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("slides")
    data = write_exams(folder / "in")
    return Ran(data, folder / "bundle", train(SLIDES, data, folder / "bundle", bag_options("mil_resnet18")))


ORIGINS = [(0, 0), (0, 32), (32, 0), (32, 32), (64, 40)]
SERIES = Series("slide", "slide", "SM", (), ((0, 0),), Grid.plane((8, 8)), True, {}, Identifiers())


def slide(tiles: np.ndarray, origins: list[tuple[int, int]]) -> Pixels:
    return Pixels(tiles, Grid.plane((192, 800)), True, "RGB", origins=tuple(origins))


def answered(ran: Ran, pixels: Pixels, explainer: str = "gradcam", uncertainty: str = "none", size: int = 2) -> Answer:
    pipeline = replace(shelf().load(SLIDES), explainer=explainer, uncertainty=uncertainty)
    scorer = Scorer(pipeline, ran.out, "cpu", size, False)
    (only,) = scorer.answers([scorer.prepare(SERIES, pixels)])
    return only


def tiles(dark: int) -> np.ndarray:
    random = np.random.default_rng(9)
    return np.stack([patch(random, number == dark) for number in range(len(ORIGINS))])


def test_an_exam_is_one_case_with_the_label_of_its_patches(slides: Ran) -> None:
    plan, told = slides.outcome.plan, predictions(slides)
    assert plan.notes == (
        f"{len(plan.rows)} files are 28 bags, one for each exam",
        "a bag has a label if one of its files has it",
    )
    assert len(told) == sum(side == "test" for side in plan.splits[0].sides.values())
    for file, row in told.items():
        sick = int(file[:2]) % 2 == 0
        assert float(row["target tumour"]) == sick
        assert (float(row["probability tumour"]) > 0.5) == sick


def test_evaluation_scores_exams_as_training_did_and_shows_the_patch_of_an_error(slides: Ran, tmp_path: Path) -> None:
    exams = {row["exam"]: row for row in predictions(slides).values()}
    with slides.data.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["exam"] in exams]
    healthy = next(exam for exam in exams if int(exam.split()[1]) % 2)
    for row in rows:
        os.link(slides.data.parent / row["file"], tmp_path / row["file"])
        row["label"] = str(int(row["exam"] == healthy))  # wrong, so that there are errors to show
    options = EvaluationOptions(draws=50, workers=1, uncertainty=("augmentation",))
    found = evaluate(slides.out, write_rows(tmp_path, rows), tmp_path / "out", options=options)
    assert found.cases == len(exams)
    for row in evaluated(tmp_path / "out"):
        assert float(row["probability tumour"]) == pytest.approx(
            float(exams[row["exam"]]["probability tumour"]), abs=1e-4
        )
    assert {one.kind for one in found.worst} == {"missed", "false alarm"}
    assert all("the patch with the strongest evidence, of" in " ".join(one.notes) for one in found.worst)


@pytest.mark.parametrize("dark", [0, 3, 4])
def test_a_slide_is_scored_by_attention_and_its_map_is_hot_in_the_dark_block(slides: Ran, dark: int) -> None:
    found = answered(slides, slide(tiles(dark), ORIGINS))
    weights = np.array(found.prediction.part_weights)
    assert weights.argmax() == dark
    assert weights[dark] > 0.7
    assert found.prediction.pooling == "attention"
    assert found.prediction.score > answered(slides, slide(tiles(-1), ORIGINS)).prediction.score
    shown = found.explanation
    hot = np.unravel_index(int(shown.evidence.argmax()), shown.evidence.shape)
    x, y = shown.grid.position([float(i) for i in hot])[:2]
    assert ORIGINS[dark][0] + 7 <= y <= ORIGINS[dark][0] + 20
    assert ORIGINS[dark][1] + 3 <= x <= ORIGINS[dark][1] + 16


def test_full_colour_is_as_full_on_a_slide_of_many_tiles(slides: Ran) -> None:
    """Every tile twice: each has half the share of the logit, the score is the same, and so are the colours."""
    once = answered(slides, slide(tiles(2), ORIGINS))
    both = np.concatenate([tiles(2), tiles(2)])
    twice = answered(slides, slide(both, [*ORIGINS, *[(row + 96, column) for row, column in ORIGINS]]))
    assert twice.prediction.logit == pytest.approx(once.prediction.logit, abs=1e-4)
    assert twice.explanation.evidence.max() == pytest.approx(once.explanation.evidence.max() / 2, rel=1e-3)
    assert twice.explanation.display_range[1] == pytest.approx(once.explanation.display_range[1] / 2)
    assert load_bundle(slides.out).card.full_colour["gradcam"] == pytest.approx(5 * once.explanation.display_range[1])


def test_the_stitched_evidence_adds_up_to_the_slide_s_logit(slides: Ran) -> None:
    found = answered(slides, slide(tiles(2), ORIGINS), "hirescam")
    bias = load_bundle(slides.out).model.state_dict()["encoder.head.bias"].item()
    assert found.explanation.evidence.sum() == pytest.approx(found.prediction.logit - bias, abs=1e-3)


def test_the_order_of_the_tiles_and_how_many_go_at_once_change_nothing(slides: Ran) -> None:
    order, whole = [3, 0, 4, 2, 1], tiles(1)
    one = answered(slides, slide(whole, ORIGINS), uncertainty="augmentation")
    other = answered(slides, slide(whole[order], [ORIGINS[i] for i in order]), uncertainty="augmentation", size=8)
    assert one.prediction.score == pytest.approx(other.prediction.score, abs=1e-5)
    moved = [one.prediction.part_weights[i] for i in order]
    assert other.prediction.part_weights == pytest.approx(moved, abs=1e-5)
    np.testing.assert_allclose(one.explanation.evidence, other.explanation.evidence, atol=1e-5)
    assert one.uncertainty.scores == pytest.approx(other.uncertainty.scores, abs=1e-4)
    assert one.uncertainty.score_sd is not None


def test_of_a_large_slide_some_tiles_are_disturbed_among_all_others(slides: Ran) -> None:
    """Contrast and noise hardly move these tiles: the disturbed scores lie about the slide's own."""
    count = TILES_DISTURBED + 8
    random = np.random.default_rng(5)
    many = np.stack([patch(random, number == 3) for number in range(count)])
    found = answered(slides, slide(many, [(0, SIZE * n) for n in range(count)]), uncertainty="augmentation", size=8)
    assert len(found.prediction.part_weights) == count
    assert found.uncertainty.scores["contrast up"] == pytest.approx(found.prediction.score, abs=0.05)
    assert found.uncertainty.scores["noise"] == pytest.approx(found.prediction.score, abs=0.05)
    assert any("others left as they are" in note for note in found.explanation.notes)


def test_a_single_patch_is_a_bag_too(slides: Ran) -> None:
    random = np.random.default_rng(4)
    sick, healthy = (
        answered(slides, Pixels(patch(random, dark), Grid.plane((SIZE, SIZE)), True, "RGB")) for dark in (True, False)
    )
    assert sick.prediction.score > 0.5 > healthy.prediction.score
    assert sick.prediction.part_weights == ()
    assert sick.explanation.input_grid.shape == (SIZE, SIZE)


# what cannot be meant


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.mark.parametrize(
    ("pipeline", "change", "said"),
    [
        (X_RAYS, {"model": "mil_resnet18"}, "patches of a slide together, but chest_xray_opacity asks about image"),
        (X_RAYS, {"model": "video_resnet18"}, "frames of a cine together, but chest_xray_opacity asks about image"),
        (SLIDES, {"model": "video_resnet18"}, "frames of a cine together, but histology_tumour asks"),
        (CINES, {"model": "mil_resnet18"}, "patches of a slide together, but lung_ultrasound asks about cine"),
        (CINES, {"model": "video_resnet18", "arguments": {"pooling": "max"}}, "only with attention, not with max"),
    ],
)
def test_a_network_of_bags_that_the_pipeline_has_none_for(
    small: Path, pipeline: str, change: dict[str, Any], said: str
) -> None:
    data = write_pictures(small, 8)
    with pytest.raises(UsageError, match=said) as refused:
        make_plan(pipeline, data, replace(OPTIONS, **{"arguments": {}, **change}))
    assert refused.value.code == "network-input"


def test_an_exam_of_several_classes_is_no_bag(small: Path) -> None:
    (small / "a.png").touch()
    (small / "b.png").touch()
    rows = [{"file": f"{name}.png", "label": name, "patient_id": "p", "exam": "slide 1"} for name in "ab"]
    options = replace(
        OPTIONS, model="mil_resnet18", arguments={}, positive=None, negative=None, classes="tumour=a; none=b"
    )
    with pytest.raises(UsageError, match="exam slide 1 are of several classes") as refused:
        make_plan(SLIDES, write_rows(small, rows), options)
    assert refused.value.code == "mixed-labels"


def test_a_step_has_fewer_bags_than_it_would_have_images() -> None:
    assert (usual_batch("resnet18"), usual_batch("mil_resnet18"), usual_batch("video_mobilenet_v3_small")) == (16, 4, 4)


def test_a_classifier_of_single_images_is_taught_no_bags(small: Path) -> None:
    assert make_plan(X_RAYS, write_pictures(small / "more", 16), replace(OPTIONS, arguments=TINY)).bag is None
