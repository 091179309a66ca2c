from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from medcam.data.phantoms import generator
from medcam.models import load_bundle
from medcam.training import demonstration
from medcam.training._pictures import draw
from medcam.training._recipe import RECIPES
from tests.training.test_fit import NETWORK


def test_training_validation_and_evaluation_never_share_a_phantom() -> None:
    from medcam.evaluation.phantoms import UNSEEN

    most = max(max(recipe.patients, recipe.slides) for recipe in RECIPES.values())
    firsts = sorted([demonstration.TRAINING, demonstration.VALIDATION, demonstration.SLIDES, UNSEEN])
    assert all(later - earlier > most + demonstration.VALIDATION_PATIENTS for earlier, later in pairwise(firsts))
    assert firsts[0] > 1000 * 1000  # an archive's phantoms have the seeds 1000 * its own + patient


def test_a_bundle_is_made_from_nothing_but_phantoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "VALIDATION_PATIENTS", 4)
    recipe = replace(
        RECIPES["histology_tumour"],
        patients=4,
        healthy=4,
        slides=0,
        epochs=1,
        batch=4,
        options={"size": [64, 64]},
        network_def=NETWORK | {"in_channels": 3},
    )
    said: list[str] = []
    made = demonstration.make(recipe, tmp_path / "bundle", said.append, workers=0)
    assert "validation AUROC" in said[-1]
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.sha256 == made.sha256
    assert bundle.card.threshold_origin == "Youden on 4 validation phantoms"
    assert "4 seeds from 10,000,000 on" in (tmp_path / "bundle/docs/README.md").read_text()


def test_cines_are_learnt_frame_by_frame_and_slides_tile_by_tile() -> None:
    cine = generator("lung_ultrasound").phantom(1, True)
    frames = draw(RECIPES["lung_ultrasound"], [1], workers=0)
    kept = -(-cine.mask.shape[0] // -(-cine.mask.shape[0] // 16))
    assert frames.images.shape == (2 * kept, 1, 160, 192)
    assert frames.patients.tolist() == [0] * kept + [1] * kept
    assert not frames.masks[:kept].any()
    assert frames.masks[kept:].any()


def test_a_slide_s_tiles_keep_their_own_part_of_the_mask() -> None:
    from medcam.training._pictures import _tiles

    sick, healthy = (generator("histology_tumour").phantom(2, label) for label in (True, False))
    glass = np.full((512, 256, 3), 245, np.uint8)
    pixels = np.concatenate([np.concatenate([healthy.pixels, sick.pixels]), glass], axis=1)
    mask = np.concatenate([np.concatenate([healthy.mask, sick.mask]), np.zeros((512, 256), bool)], axis=1)
    tiles = list(_tiles(replace(sick, pixels=pixels, mask=mask)))
    assert [tile.label for tile in tiles] == [0, 1]  # and none of glass
    np.testing.assert_array_equal(tiles[1].pixels, sick.pixels)
    np.testing.assert_array_equal(tiles[1].mask, sick.mask)
