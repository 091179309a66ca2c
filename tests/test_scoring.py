"""One pipeline's model at work: devices, slides in turns, pooled scores, maps in their place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medcam.errors import MedcamError, UsageError
from medcam.grid import Grid
from medcam.pipeline import shelf
from medcam.scoring import TILES_DISTURBED, Scorer, choose_device, slide_grid
from medcam.study import Identifiers, Pixels, Series
from tests.stand_ins import save_stand_in

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
