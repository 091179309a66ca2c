"""What a user may get wrong: each a named error or a flag, never a map without a word."""

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import ExplainError, MedcamError, UsageError
from medcam.explainers import SHELF, explain
from tests.explainers.nets import Linear


class Nested(nn.Module):
    """Names as they are in real networks: dotted, many, alike; a gate and a pool that have no cells."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(4 if i else 1, 4, 3, 1, 1), nn.ReLU()) for i in range(40)])
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.fc(self.pool(x * self.gate(x)).flatten(1))


def refusal(*arguments: object, **more: object) -> MedcamError:
    with pytest.raises(MedcamError) as error:
        explain(*arguments, **more)  # type: ignore[call-overload]
    return error.value


def image() -> Tensor:
    return torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SHELF.names())
def test_a_layer_that_does_not_exist_names_the_nearest(name: str) -> None:
    error = refusal(Nested().eval(), image(), name, layer="stage.39.1")
    assert error.code == "unknown-layer"
    assert "stages.39.1" in str(error)


def test_a_layer_that_is_like_no_other_does_not_bring_all_names() -> None:
    error = refusal(Nested().eval(), image(), layer="transformer")
    assert error.code == "unknown-layer"
    assert "and 67 more" in str(error)
    assert len(str(error)) < 2000


@pytest.mark.parametrize("layer", ["pool", "gate", "gate.1", "fc"])
def test_a_layer_without_cells(layer: str) -> None:
    error = refusal(Nested().eval(), image(), layer=layer)
    assert error.code == "no-spatial-axes"
    assert 'layer="auto"' in str(error)


@pytest.mark.parametrize("layer", [None, 3, [], [None], {"stem": 1}])
def test_what_is_no_layer(layer: object) -> None:
    assert refusal(Linear().eval(), image(), layer=layer).code == "bad-layer"


@pytest.mark.parametrize(
    "targets", [3, -1, 10**12, [3], [0, 1], None, True, [True], "klass", [], [[0], [1, 2]], [0.5], torch.zeros(1, 0)]
)
def test_targets_that_are_none(targets: object) -> None:
    assert refusal(Linear().eval(), image(), targets=targets).code == "bad-target"


@pytest.mark.parametrize("methods", [[], None, 3, "grad-cam", [""]])
def test_methods_that_are_none(methods: object) -> None:
    error = refusal(Linear().eval(), image(), methods)
    assert isinstance(error, UsageError)
    assert error.code == "unknown-explainer"


def test_a_score_that_is_not_finite_behind_an_output_that_is() -> None:
    """The gradient of a + NaN is that of a: only the score shows it."""

    class Features(Linear):
        def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"features": x.mean((2, 3)), "logits": super().forward(x)}

    model = Features().eval()
    with torch.no_grad():
        model.fc.bias.fill_(torch.nan)
    assert refusal(model, image(), targets=1).code == "not-finite"
    own = refusal(Linear().eval(), image(), targets=lambda output: output[:, 0] + torch.nan)
    assert own.code == "not-finite"


def test_values_that_are_not_finite_at_the_layer_alone() -> None:
    """The output does not show them."""

    class Hides(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.nan_to_num(self.act(self.body(torch.relu(self.stem(x))))).flatten(2).mean(2))

    model = Hides().eval()
    with torch.no_grad():
        model.body.bias[0] = torch.nan
    with pytest.raises(ExplainError, match="not-finite"):
        explain(model, image(), "hirescam", 1, "act")


def test_a_part_in_training_mode_is_told_and_left_so() -> None:
    model = Linear().eval()
    model.act.train()
    explained = explain(model, image())
    assert any("a part of the model was in training mode" in note for note in explained.notes)
    assert model.act.training
    assert not model.training


def test_a_layer_that_a_method_does_not_look_at_is_told() -> None:
    explained = explain(Linear().eval(), image(), "gradient", 1, "body")
    assert any("no layer is looked at" in note for note in explained.notes)
    assert not any("no layer" in note for note in explain(Linear().eval(), image(), "gradient", 1).notes)


def test_gradients_of_exactly_zero_are_flagged_for_the_target_that_has_them() -> None:
    model = Linear().eval()
    with torch.no_grad():
        model.fc.weight[1].zero_()
    explained = explain(model, image(), targets="all")
    assert list(explained.flags) == [(0, 1)]
    assert "exactly zero" in explained.flags[0, 1][0]
    assert float(explained.display()[0, 1].max()) == 0
    assert "exactly zero" in " ".join(explained.sample(0, 1).notes)
