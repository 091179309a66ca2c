"""One pipeline's model at work: devices, slides in turns, pooled scores, maps in their place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, softmax

from medcam.errors import MedcamError, UsageError
from medcam.findings import decide
from medcam.grid import Grid
from medcam.models import load_bundle
from medcam.pipeline import shelf
from medcam.reliability import calibration, conformal, support
from medcam.reliability.calibration import Calibration
from medcam.reliability.conformal import Conformal
from medcam.reliability.judging import TILES_DISTURBED
from medcam.reliability.support import Examples, Support, features
from medcam.reliability.thresholds import Threshold
from medcam.scoring import Scorer, choose_device, slide_grid
from medcam.study import Identifiers, Pixels, Series
from medcam.transforms import Prepared
from tests.stand_ins import PIPELINES, save_stand_in

TILE = 64
SPACING = (0.002, 0.002)


def slide(shape, origins, dark):
    """Light tiles with noise; those named in `dark` have a dark block at their rows 20 to 39, columns 10 to 29."""
    rng = np.random.default_rng(0)
    array = rng.integers(215, 235, (len(origins), TILE, TILE, 3)).astype(np.uint8)
    for number in dark:
        array[number, 20:40, 10:30] = 20
    grid = Grid.plane(shape, SPACING, space="detector", mm_known=True)
    return Pixels(array, grid, True, "RGB", origins=tuple(origins))


SERIES = Series("slide", "slide", "SM", (), ((0, 0),), Grid.plane((8, 8)), True, {}, Identifiers())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Tiles are seen at their own size, so a cell of the map is 4 x 4 pixels of the slide."""
    folder = tmp_path_factory.mktemp("bundle") / "histology_tumour"
    save_stand_in(folder, "histology_tumour", transform_options={"size": (TILE, TILE)}, gain=40.0)
    return folder


def scorer(bundle, uncertainty="none", batch_size=4):
    pipeline = replace(shelf().load("histology_tumour"), uncertainty=uncertainty)
    return Scorer(pipeline, bundle, "cpu", batch_size, False)


def answer(scorer, pixels):
    (only,) = scorer.answers([scorer.prepare(SERIES, pixels)])
    return only


def test_a_slides_score_is_pooled_from_its_tiles(bundle):
    origins = [(0, 0), (0, 64), (64, 0), (64, 64), (128, 64)]
    found = answer(scorer(bundle), slide((192, 128), origins, dark=[3])).prediction
    parts = torch.tensor(found.part_scores).double()
    assert len(parts) == 5
    assert int(parts.argmax()) == 3
    logits = parts.logit()
    expected = torch.logsumexp(logits, 0) - np.log(5)  # log-mean-exp, as the card says
    assert found.logit == pytest.approx(float(expected), abs=1e-4)
    assert found.score == pytest.approx(float(expected.sigmoid()), abs=1e-5)
    assert found.pooling == "log-mean-exp"


@pytest.mark.parametrize("which", [0, 3, 4])
def test_a_slides_map_shows_the_dark_block_where_it_lies_on_the_slide(bundle, which):
    origins = [(0, 0), (0, 70), (64, 3), (80, 71), (128, 64)]
    explanation = answer(scorer(bundle), slide((192, 140), origins, dark=[which])).explanation
    hot = np.argwhere(explanation.evidence > explanation.evidence.max() / 2)
    y, x = explanation.grid.position(hot.mean(0))[[1, 0]] / SPACING[0]
    top, left = origins[which]
    assert abs(y - (top + 29.5)) <= 2
    assert abs(x - (left + 19.5)) <= 2
    assert explanation.input_grid.shape == (192, 135)  # what the tiles cover


def test_how_many_tiles_go_through_the_model_at_once_changes_nothing(bundle):
    whole = slide((192, 128), [(0, 0), (0, 64), (64, 0), (64, 64), (128, 64)], dark=[1, 4])
    one, two = (answer(scorer(bundle, "augmentation", size), whole) for size in (1, 8))
    assert one.prediction.logit == pytest.approx(two.prediction.logit, abs=1e-5)
    assert np.allclose(one.explanation.evidence, two.explanation.evidence, atol=1e-5)
    assert one.uncertainty.scores == pytest.approx(two.uncertainty.scores, abs=1e-5)
    assert one.uncertainty.score_sd == pytest.approx(two.uncertainty.score_sd, abs=1e-5)
    assert one.uncertainty.score_sd > 0


def test_of_a_large_slide_the_highest_tiles_are_disturbed(bundle):
    count = TILES_DISTURBED + 4
    whole = slide((64, 64 * count), [(0, 64 * i) for i in range(count)], dark=[2])
    found = answer(scorer(bundle, "augmentation", 8), whole)
    assert len(found.prediction.part_scores) == count
    assert len(found.uncertainty.scores) == 8
    assert any("highest scores" in note for note in found.explanation.notes)
    # contrast moves a score that comes from darkness, and by name
    assert found.uncertainty.scores["contrast up"] > found.uncertainty.scores["contrast down"]


def test_one_tile_is_a_slide_too(bundle):
    found = answer(scorer(bundle), slide((64, 64), [(0, 0)], dark=[0]))
    assert found.explanation.input_grid.shape == (64, 64)
    hot = np.argwhere(found.explanation.evidence > found.explanation.evidence.max() / 2)
    assert np.abs(found.explanation.grid.position(hot.mean(0))[[1, 0]] / SPACING[0] - (29.5, 19.5)).max() <= 2


def test_the_grid_of_a_slide_holds_all_its_tiles():
    whole = Grid.plane((300, 400), (0.5, 0.25), space="detector", mm_known=True)
    tiles = [whole.cropped(origin, (64, 64)) for origin in ((100, 8), (164, 72), (37, 40))]
    grid = slide_grid(tiles)
    assert grid.shape == (164 + 64 - 37, 72 + 64 - 8)
    assert grid.position((0, 0)).tolist() == whole.position((37, 8)).tolist()
    assert grid.spacing == whole.spacing


def test_devices():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(UsageError, match="There is no device 'tpu' here"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda:1"):
            choose_device("cuda:1")


def test_weights_of_nan_are_refused(tmp_path):
    save_stand_in(tmp_path / "nan", "histology_tumour", transform_options={"size": (TILE, TILE)}, fill=float("nan"))
    broken = scorer(tmp_path / "nan")
    with pytest.raises(MedcamError, match="not-finite"):
        answer(broken, slide((64, 128), [(0, 0), (0, 64)], dark=[0]))


MAP = Calibration(
    "single-logit", (0.4,), (-0.3,), (0.3,), 50, 50, thresholds=(Threshold(0.35, "by hand", (0, 1), 1, 1),)
)


def with_blobs(folder, pipeline, **facts):
    """A stand-in whose blobs are a calibration, a set and the support of two clouds of features."""
    bundle = load_bundle(save_stand_in(folder / "plain", pipeline, **facts))
    layer = features(bundle.model, [torch.zeros(1, *PIPELINES[pipeline][3])], bundle.card.layer)[2]
    y = np.repeat([0.0, 1.0], 20)[:, None]
    h = np.random.default_rng(0).normal(0, 0.001, (40, 1)) + 0.01 * y
    cases = Examples(h, 0.1 + 0.8 * y, y, [f"p{i}" for i in range(40)], [f"f{i}" for i in range(40)])
    blobs = {
        calibration.BLOB: MAP.to_bytes(),
        conformal.BLOB: Conformal("single-logit", bundle.card.labels, 0.1, "lac", True, ((0.6, 0.7),), ((80, 40),)).to_bytes(),
        support.BLOB: Support.fit(cases, cases, [0.35], layer=layer, salt="").to_bytes(),
    }  # fmt: skip
    return Path(save_stand_in(folder / "learned", pipeline, blobs=blobs, **facts))


def test_disturbed_scores_are_calibrated_by_the_map_of_the_score(tmp_path):
    with_blobs(tmp_path, "chest_xray_opacity")
    pipeline = replace(shelf().load("chest_xray_opacity"), uncertainty="augmentation")
    image = np.full((256, 256), 60, np.float32)
    image[100:140, 60:100] = 250
    pixels, grid = Pixels(image, Grid.plane((256, 256)), False, "grey", (128, 256)), Grid.plane((256, 256))
    series = Series("image", "image", "DX", (), ((0, 0),), grid, False, {}, Identifiers())
    found = {}
    for name in ("plain", "learned"):
        model = Scorer(pipeline, tmp_path / name, "cpu", 4, False)
        (found[name],) = model.answers([model.prepare(series, pixels)], ["p7"])
    plain, learned = found["plain"], found["learned"]
    assert plain.prediction.score_name == "uncalibrated score"
    assert plain.prediction.conformal_set is plain.prediction.support is None
    assert learned.prediction.logit == plain.prediction.logit
    assert learned.prediction.score == pytest.approx(expit(0.4 * plain.prediction.logit - 0.3), abs=1e-6)
    assert learned.prediction.threshold == 0.35
    assert learned.prediction.score_name == "calibrated probability"
    assert learned.prediction.support.trained_on
    for disturbed, score in plain.uncertainty.scores.items():
        assert learned.uncertainty.scores[disturbed] == pytest.approx(expit(0.4 * logit(score) - 0.3), abs=1e-4)
    assert learned.uncertainty.score_sd == pytest.approx(np.std(list(learned.uncertainty.scores.values())))
    assert 0 < plain.uncertainty.map_agreement <= 1
    np.testing.assert_array_equal(learned.explanation.evidence, plain.explanation.evidence)


def test_of_a_slide_the_pooled_score_is_calibrated_and_the_highest_tile_is_supported(tmp_path):
    facts = {"transform_options": {"size": (TILE, TILE)}, "gain": 40.0}
    learned = with_blobs(tmp_path, "histology_tumour", **facts)
    whole = slide((192, 128), [(0, 0), (0, 64), (64, 0), (64, 64), (128, 64)], dark=[3])
    one, two = answer(scorer(tmp_path / "plain", "augmentation"), whole), answer(scorer(learned, "augmentation"), whole)
    assert two.prediction.score == pytest.approx(expit(0.4 * one.prediction.logit - 0.3), abs=1e-6)
    assert two.prediction.part_scores == pytest.approx(
        tuple(expit(0.4 * logit(np.array(one.prediction.part_scores)) - 0.3)), abs=1e-5
    )
    for disturbed, score in one.uncertainty.scores.items():
        assert two.uncertainty.scores[disturbed] == pytest.approx(expit(0.4 * logit(score) - 0.3), abs=1e-4)
    bundle = load_bundle(learned)
    dark = scorer(learned).prepare(SERIES, whole).tensor[3:4]
    known = Support.from_bytes(bundle.blob(support.BLOB))
    _, feature, _ = features(bundle.model, [dark], bundle.card.layer)
    expected = known.judge(feature[0], two.prediction.score)
    assert two.prediction.support.nearest == pytest.approx(expected.nearest, rel=1e-4)
    assert two.prediction.support.similarity == expected.similarity


def test_of_a_softmax_the_temperature_reaches_the_disturbed_scores(tmp_path):
    """Three classes whose odds do not say what their tempered probability is."""
    labels = ("healthy", "opacity", "fluid")
    warm = Calibration("softmax", (0.2,) * 3, (0.0,) * 3, (0.4, 0.3, 0.3), 50, 50)
    save_stand_in(
        tmp_path, "chest_xray_opacity", blobs={calibration.BLOB: warm.to_bytes()}, network={"out_channels": 3},
        labels=labels, head="softmax",
    )  # fmt: skip
    bundle = load_bundle(tmp_path)
    with torch.no_grad():
        bundle.model.head.map.weight[:] = torch.tensor([20.0, 200.0, 90.0]).reshape(3, 1, 1, 1)
    model = Scorer(replace(shelf().load("chest_xray_opacity"), uncertainty="augmentation"), tmp_path, "cpu", 4, False)
    model._bundle = model._judge.bundle = bundle
    x = torch.full((1, 1, 256, 256), 0.2)
    x[..., 60:140, 60:140] = 0.95
    (found,) = model.answers([Prepared(x, (Grid.plane((256, 256)),), ())])
    with torch.no_grad():
        z = bundle.model(x)[0].numpy()
    assert found.prediction.score == pytest.approx(softmax(0.2 * z)[1], abs=1e-5)
    assert found.uncertainty.scores["contrast up"] != pytest.approx(found.prediction.score, abs=1e-4)
    explained = model._judge.explain(x, 1, [Grid.plane((256, 256))])
    (spread,) = model._judge.spreads(explained)
    expected = softmax(0.2 * spread.outputs, axis=1)[:, 1]
    assert list(found.uncertainty.scores.values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_an_ensemble_beside_the_bundle_is_asked_too(tmp_path):
    save_stand_in(tmp_path, "histology_tumour", transform_options={"size": (TILE, TILE)}, gain=40.0)
    save_stand_in(tmp_path / "members" / "1", "histology_tumour", transform_options={"size": (TILE, TILE)}, gain=-9.0)
    found = answer(scorer(tmp_path, "ensemble"), slide((64, 64), [(0, 0)], dark=[0]))
    own, other = found.uncertainty.scores.values()
    assert own == pytest.approx(found.prediction.score, abs=1e-6)
    assert own > 0.5 > other
    assert found.uncertainty.epistemic > 0.01
    decided = decide(found.prediction, found.uncertainty, demonstration=False)
    assert decided.outcome == "refer"
    assert "1 of 2 networks (ensemble)" in decided.reasons[-1]
