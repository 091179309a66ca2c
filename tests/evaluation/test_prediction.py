"""Scores and their spread go to the rows they belong to."""

import numpy as np
import pytest
import torch

from medcam.data.images import Images
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest, Row
from medcam.errors import ExplainError, ModelError
from medcam.evaluation.prediction import deviations, outputs, score
from medcam.explainers import explain
from medcam.models import Bundle
from medcam.models.resnet import ResNet
from medcam.uncertainty import SHELF
from tests.stand_ins import card, network_def

CLASSES = Labelling.classes({"a": ["x"], "b": ["y"], "c": ["z"]})


@pytest.fixture
def world(tmp_path) -> tuple[Bundle, Images, Manifest]:
    """Nine images for a network with three classes, random weights and dropout."""
    torch.manual_seed(0)
    arguments = {k: v for k, v in network_def(out_channels=3, dropout=0.4).items() if k != "_target_"}
    network = ResNet(**{**arguments, "widths": [6]}).eval()
    rng = np.random.default_rng(1)
    pixels = 2 * rng.random((9, 1, 24, 24)) * rng.random((9, 1, 1, 1)) * 3
    with torch.no_grad():  # no class wins everywhere
        network.head.map.weight.mul_(6)
        network.head.bias.sub_(network(torch.from_numpy(pixels).float()).mean(dim=0))
    targets = np.eye(3)[rng.integers(0, 3, 9)]
    images = Images.of(pixels, targets, [f"p{n}" for n in range(9)], CLASSES)
    rows = [
        Row(n + 2, tmp_path / f"{n}", "xyz"[t], f"p{n}", f"e{n}", "", {"file": f"{n}.png", "sex": "F"})
        for n, t in enumerate(targets.argmax(1))
    ]
    bundle = Bundle(network, card("chest_xray_opacity", labels=("c", "a", "b"), head="softmax"), tmp_path)
    return bundle, images, Manifest(tmp_path / "m.csv", tuple(rows))


def test_logits_go_to_the_labels_they_belong_to_whatever_their_order_and_batch(world) -> None:
    bundle, images, manifest = world
    scored = score(bundle, images, manifest, batch_size=4)
    with torch.no_grad():
        raw = torch.cat([bundle.model(images[n]["image"][None]) for n in range(9)]).numpy()
    assert scored.labels == ("a", "b", "c")
    assert np.allclose(scored.logits, raw[:, [1, 2, 0]], atol=1e-5)  # the bundle's order is c, a, b
    assert np.array_equal(scored.targets, images.targets)
    assert scored.files == tuple(f"{n}.png" for n in range(9))
    assert scored.columns["line"] == tuple(str(n + 2) for n in range(9))


@pytest.mark.parametrize("method", ["dropout", "augmentation"])
def test_spread_is_that_of_each_class_against_the_others(world, method) -> None:
    bundle, images, _ = world
    found = deviations(bundle, images, method, batch_size=4)
    for n in range(9):
        for column, label in enumerate((1, 2, 0)):  # the bundle's order is c, a, b
            x = images[n]["image"][None]
            told = explain(bundle.model, x, targets=lambda output, of=label: bundle.odds(output, of))
            (spread,) = SHELF.load(method)().spread(bundle.model, told)
            p = 1 / (1 + np.exp(-np.array(list(spread.logits.values()))))
            assert found[n, column] == pytest.approx(p.std(), abs=1e-5)
    assert found.std() > 1e-3


def test_without_dropout_there_is_no_spread_to_pretend(world) -> None:
    bundle, images, _ = world
    for module in bundle.model.modules():
        if hasattr(module, "p"):
            module.p = 0.0
    with pytest.raises(ExplainError) as told:
        deviations(bundle, images, "dropout")
    assert told.value.code == "no-dropout"


def test_a_network_that_gives_nan_is_refused(world) -> None:
    bundle, images, manifest = world
    with torch.no_grad():
        bundle.model.head.bias.fill_(float("nan"))
    with pytest.raises(ModelError) as told:
        score(bundle, images, manifest)
    assert told.value.code == "not-finite"


def test_some_labels_of_several_may_be_evaluated_but_not_others(tmp_path) -> None:
    several = Bundle(torch.nn.Identity(), card("chest_xray_opacity", labels=("a", "b", "c"), head="sigmoid"), tmp_path)
    assert outputs(several, Labelling.multilabel(["c", "a"])) == [2, 0]
    for wrong in (Labelling.multilabel(["c", "d"]), CLASSES, Labelling.binary("a", ["1"], ["0"])):
        with pytest.raises(ModelError, match="The bundle knows a, b, c") as told:
            outputs(several, wrong)
        assert told.value.code == "bundle-labels"
    exclusive = Bundle(
        torch.nn.Identity(), card("chest_xray_opacity", labels=("a", "b", "c"), head="softmax"), tmp_path
    )
    with pytest.raises(ModelError, match="say --classes"):
        outputs(exclusive, Labelling.classes({"a": ["x"], "b": ["y"]}))  # two of three would add up to less than one
