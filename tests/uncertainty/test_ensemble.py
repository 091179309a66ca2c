"""Deep ensembles: every network speaks for itself, on the grid of the one that was explained."""

import shutil

import numpy as np
import pytest
import torch

from medcam.errors import ModelError, UsageError
from medcam.explainers import explain
from medcam.grid import resample
from medcam.models import load_bundle, settings_digest
from medcam.uncertainty.ensemble import Ensemble
from tests.stand_ins import save_stand_in

PIPELINE = "chest_xray_opacity"


def odds(output):
    return output[:, 0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle with two members: one that is less keen, one with cells of twice the size."""
    folder = tmp_path_factory.mktemp("ensemble")
    save_stand_in(folder / "main", PIPELINE)
    save_stand_in(folder / "main" / "members" / "1", PIPELINE, gain=100.0)
    save_stand_in(folder / "main" / "members" / "2", PIPELINE, network={"stem_stride": 4})
    return load_bundle(folder / "main")


def images():
    x = torch.full((2, 1, 64, 64), 0.2)
    x[0, :, 16:32, 8:24] = 0.9
    x[1, :, 40:56, 32:48] = 1.0
    return x


def test_each_network_gives_its_own_score_and_its_map_in_place(bundle):
    x = images()
    explained = explain(bundle.model, x, targets=odds, layer=bundle.card.layer)
    spreads = Ensemble.of(bundle).spread(bundle.model, explained)
    others = [load_bundle(bundle.folder / "members" / name).model for name in "12"]
    with torch.no_grad():
        expected = torch.stack([network(x)[:, 0] for network in (bundle.model, *others)])
    for b, spread in enumerate(spreads):
        assert list(spread.logits) == ["the network itself", "network 1", "network 2"]
        assert list(spread.logits.values()) == pytest.approx(expected[:, b].tolist(), abs=1e-4)
        assert spread.uncertainty.scores == pytest.approx(
            dict(zip(spread.logits, expected[:, b].sigmoid().tolist(), strict=True))
        )
        np.testing.assert_allclose(spread.outputs[:, 0], expected[:, b], atol=1e-4)
        np.testing.assert_array_equal(spread.cells[0], explained.evidence[b, 0].numpy())
        np.testing.assert_allclose(spread.cells[1], spread.cells[0] / 2, atol=1e-5)
        coarse = explain(others[1], x, targets=odds)
        assert coarse.evidence.shape[-1] == explained.evidence.shape[-1] / 2
        moved = resample(
            coarse.evidence[b, 0].numpy(), coarse.grids[b], explained.grids[b], within=coarse.input_grids[b]
        )
        np.testing.assert_allclose(spread.cells[2], moved, atol=1e-5)
        hot = [np.argwhere(cells > cells.max() / 2).mean(axis=0) for cells in spread.cells]
        np.testing.assert_allclose(hot[2], hot[0], atol=1.0)


def test_networks_that_are_equal_do_not_differ(tmp_path):
    save_stand_in(tmp_path / "main", PIPELINE)
    shutil.copytree(tmp_path / "main", tmp_path / "main" / "members" / "twin")
    bundle = load_bundle(tmp_path / "main")
    explained = explain(bundle.model, images(), targets=odds)
    for spread in Ensemble.of(bundle).spread(bundle.model, explained):
        assert spread.uncertainty.score_sd == 0
        assert spread.per_cell.max() == 0


def test_another_member_is_another_answer(tmp_path):
    save_stand_in(tmp_path / "b", PIPELINE)
    alone = settings_digest(tmp_path / "b")
    save_stand_in(tmp_path / "b" / "members" / "1", PIPELINE)
    pair = settings_digest(tmp_path / "b")
    save_stand_in(tmp_path / "b" / "members" / "1", PIPELINE, gain=1.0)
    assert len({alone, pair, settings_digest(tmp_path / "b")}) == 3


def test_what_is_no_ensemble_is_refused(tmp_path):
    save_stand_in(tmp_path / "b", PIPELINE)
    with pytest.raises(UsageError, match="no-members"):
        Ensemble.of(load_bundle(tmp_path / "b"))
    save_stand_in(tmp_path / "b" / "members" / "other", PIPELINE, labels=("nodule",))
    with pytest.raises(ModelError, match="differ in labels"):
        Ensemble.of(load_bundle(tmp_path / "b"))
    with pytest.raises(ModelError, match="ensemble-mismatch"):
        Ensemble([tmp_path / "b", tmp_path / "b" / "members" / "other"])
    with pytest.raises(UsageError, match="too-few-passes"):
        Ensemble([])
