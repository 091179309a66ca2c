"""`explain` as a whole: batches, classes, several methods, and every refusal by its code."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError, UsageError
from medcam.explainers import SHELF, explain
from medcam.explainers.base import GradientMethod, Method
from medcam.grid import Grid
from tests.explainers.nets import Linear


def test_a_batch_row_equals_the_image_alone() -> None:
    model = Linear().eval()
    x = torch.randn(4, 1, 16, 16)
    together = explain(model, x, targets=[2, 0, 1, 2])
    for row, target in enumerate((2, 0, 1, 2)):
        alone = explain(model, x[row : row + 1], targets=target)
        torch.testing.assert_close(together.evidence[row], alone.evidence[0])
        assert together.scores[row, 0] == pytest.approx(alone.scores[0, 0].item())


def test_classes_differ_and_predicted_is_the_highest_logit() -> None:
    model = Linear().eval()
    x = torch.randn(4, 1, 16, 16)
    everything = explain(model, x, targets="all")
    assert not torch.allclose(everything.evidence[:, 0], everything.evidence[:, 1])
    predicted = explain(model, x)
    winners = model(x).argmax(1)
    torch.testing.assert_close(predicted.evidence[:, 0], everything.evidence[torch.arange(4), winners])
    assert predicted.targets.classes == tuple((int(winner),) for winner in winners)


def test_several_methods_share_one_forward_pass() -> None:
    model = Linear().eval()
    explain(model, torch.randn(2, 1, 16, 16))  # traced
    calls: list[int] = []
    model.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    many = explain(model, torch.randn(2, 1, 16, 16), ["gradcam", "hirescam", "layercam"], targets="all")
    assert calls == [2]
    assert list(many) == ["gradcam", "hirescam", "layercam"]
    assert {explained.method for explained in many.values()} == set(many)


def test_own_method_class_and_instance() -> None:
    class Weighted(GradientMethod):
        """Sum of the gradients, as somebody might write it."""

        name, paper, unit, signed = "weighted", "none", "arbitrary", True

        def __init__(self, factor: float = 1.0) -> None:
            self.factor = factor

        def formula(self, activation: Tensor, gradient: Tensor) -> Tensor:
            return self.factor * gradient.sum(1)

    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    once, thrice = explain(model, x, Weighted), explain(model, x, Weighted(3.0))
    torch.testing.assert_close(3 * once.evidence, thrice.evidence)
    assert thrice.unit == "arbitrary"


def test_every_member_of_the_shelf_says_what_it_is() -> None:
    assert {"gradcam", "hirescam", "layercam"} <= set(SHELF.names())
    for name in SHELF.names():
        member = SHELF.load(name)
        assert issubclass(member, Method)
        assert member.name == name
        assert member.unit in ("logit", "score drop", "arbitrary")
        assert member.paper
        assert isinstance(member.signed, bool)


def test_nothing_heavy_is_imported_before_use() -> None:
    code = (
        "import sys, medcam.explainers as e, medcam.uncertainty as u; e.SHELF.names(); u.SHELF.names();"
        "assert 'torch' not in sys.modules and 'monai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_explain_needs_no_monai() -> None:
    code = (
        "import sys, torch; from medcam.explainers import explain;"
        "net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2));"
        "explain(net, torch.randn(1, 1, 8, 8)); assert 'monai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_image_with_its_grid() -> None:
    model = Linear().eval()
    image = torch.randn(1, 16, 16)
    grid = Grid.plane((16, 16), spacing=(0.5, 0.25), mm_known=True)
    explained = explain(model, image, targets=1, grid=grid)
    torch.testing.assert_close(explained.evidence, explain(model, image[None], targets=1).evidence)
    assert explained.grid.spacing == (2.0, 1.0)
    assert explained.grid.mm_known


def test_metatensors_are_plain_inside() -> None:
    from monai.data import MetaTensor

    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    explained = explain(model, MetaTensor(x), targets=1)
    assert type(explained.evidence) is type(explained.images) is type(explained.output) is Tensor
    torch.testing.assert_close(explained.evidence, explain(model, x, targets=1).evidence)


def test_training_mode_is_said() -> None:
    model = Linear().train()
    assert any("training mode" in note for note in explain(model, torch.randn(1, 1, 16, 16)).notes)
    assert not any("training mode" in note for note in explain(model.eval(), torch.randn(1, 1, 16, 16)).notes)


REFUSALS = [
    ({"layer": "bodi"}, ExplainError, "unknown-layer", "body"),
    ({"layer": nn.ReLU()}, ExplainError, "unknown-layer", "not part"),
    ({"layer": "fc"}, ExplainError, "no-spatial-axes", "auto"),
    ({"targets": 3}, ExplainError, "bad-target", "0 to 2"),
    ({"targets": -1}, ExplainError, "bad-target", "0 to 2"),
    ({"targets": [0]}, ExplainError, "bad-target", "2 samples"),
    ({"targets": torch.rand(2, 3)}, ExplainError, "bad-target", "whole numbers"),
    ({"targets": "best"}, ExplainError, "bad-target", "best"),
    ({"targets": lambda output: output}, ExplainError, "bad-target", "one scalar per sample"),
    ({"head": "dense"}, ExplainError, "bad-output", "dense"),
    ({"head": "single-logit"}, ExplainError, "bad-output", "one number"),
    ({"method": "gradcamm"}, UsageError, "unknown-explainer", "gradcam"),
    ({"method": 3}, UsageError, "unknown-explainer", "3"),
    ({"model": len}, UsageError, "bad-model", "builtin"),
    ({"x": torch.zeros(2, 1, 16, 16, dtype=torch.long)}, UsageError, "bad-input", "floating"),
    ({"x": torch.zeros(16, 16)}, UsageError, "bad-input", "(16, 16)"),
    ({"grids": [Grid.plane((16, 16))]}, UsageError, "bad-grid", "2 samples"),
    ({"grid": Grid.plane((8, 8))}, UsageError, "bad-grid", "(16, 16)"),
    ({"x": torch.full((2, 1, 16, 16), float("nan"))}, ExplainError, "not-finite", "input"),
]


@pytest.mark.parametrize(("changes", "kind", "code", "says"), REFUSALS)
def test_refusals_have_a_code_and_say_what_is_wrong(changes: dict, kind: type[Exception], code: str, says: str) -> None:
    arguments = {"model": Linear(), "x": torch.zeros(2, 1, 16, 16), **changes}
    with pytest.raises(kind) as error:
        explain(**arguments)
    assert error.value.code == code
    assert says in str(error.value)


def test_damaged_weights_are_named() -> None:
    model = Linear()
    with torch.no_grad():
        model.fc.weight[0, 0] = float("nan")
    with pytest.raises(ExplainError, match="weights"):
        explain(model, torch.ones(1, 1, 16, 16))


def test_a_layer_that_is_never_reached() -> None:
    model = Linear()
    model.spare = nn.Conv2d(1, 1, 1)
    with pytest.raises(ExplainError) as error:
        explain(model, torch.zeros(1, 1, 16, 16), layer="spare")
    assert error.value.code == "layer-not-reached"


def test_empty_and_degenerate_maps_are_flagged() -> None:
    model = Linear(classes=3).eval()
    with torch.no_grad():
        model.fc.weight[0] = 0
        model.fc.weight[1] = -model.fc.weight[1].abs()
        model.fc.weight[2] = model.fc.weight[2].abs()
    x = torch.rand(1, 1, 16, 16)
    explained = explain(model, x, targets="all")
    assert "exactly zero" in explained.flags[0, 0][0]
    assert "against" in explained.flags[0, 1][0]
    assert (0, 2) not in explained.flags
    assert any("exactly zero" in note for note in explained.sample(0, 0).notes)
    with torch.no_grad():
        model.body.weight.zero_()
        model.body.bias.fill_(1.0)
    assert "same everywhere" in explain(model, x, targets=2).flags[0, 0][0]
