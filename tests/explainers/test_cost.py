"""What every method on the shelf declares to cost, against the passes that are counted in a network."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import SHELF, explain
from medcam.explainers._capture import Tap
from medcam.explainers._cost import Cost, Each, again, few, more
from medcam.explainers._fusion import Fused
from medcam.explainers.ablationcam import AblationCAM
from medcam.explainers.base import Method
from medcam.explainers.feature_factorization import FeatureFactorization
from medcam.explainers.integrated_gradients import IntegratedGradients
from medcam.explainers.legrad import LeGrad
from medcam.explainers.rise import RISE
from medcam.explainers.scorecam import ScoreCAM
from medcam.explainers.smooth_gradcam_plus_plus import SmoothGradCAMPlusPlus
from medcam.explainers.smoothgrad import SmoothGrad
from tests.explainers.nets import Linear
from tests.explainers.transformers import Tokens

OTHERS = (
    AblationCAM(channels=3),
    FeatureFactorization(parts="present"),
    IntegratedGradients(steps=7),
    LeGrad(last=2),
    RISE(masks=20, cells=3),
    ScoreCAM(groups=2),
    SmoothGrad(copies=3),
    SmoothGradCAMPlusPlus(copies=2),
)
"""Settings by which a method costs something else than by default."""


class Counted:
    """A network whose passes are counted, an image at a time.

    Its first module is reached by whole passes only, its last one by those through the tail, too, and backwards.
    """

    def __init__(self, model: nn.Module, first: nn.Module, x: Tensor, things: dict[str, int]) -> None:
        self.model, self.x, self.things = model.eval(), x, things
        self.whole = self.all = self.backwards = 0
        first.register_forward_hook(self._enter)
        model.fc.register_forward_hook(self._leave)

    def __deepcopy__(self, memo: object) -> "Counted":
        return self  # passes of a copy of the network count, too

    def _enter(self, module: nn.Module, args: object, output: Tensor) -> None:
        self.whole += len(output) * (output.device.type != "meta")

    def _leave(self, module: nn.Module, args: object, output: Tensor) -> None:
        self.all += len(output) * (output.device.type != "meta")
        if output.requires_grad:
            output.register_hook(self._back)

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)

    def of(self, method: Method, targets: object = 0, layer: object = "auto") -> tuple[int, int, int]:
        """Whole passes, those through the tail, and backwards, of a second explanation."""
        for _ in range(2):
            self.whole = self.all = self.backwards = 0
            explain(self.model, self.x, method, targets, layer)  # type: ignore[call-overload]
        return self.whole, self.all - self.whole, self.backwards

    def declared(self, method: Method) -> tuple[int, ...]:
        """The same as the method declares it."""
        costs: tuple[Cost, ...] = method.forwards, method.tail_forwards, method.tail_backwards
        return tuple(cost if isinstance(cost, int) else cost.of(self.things[cost.what]) for cost in costs)


def network(family: str) -> Counted:
    """One whose channels are all alive."""
    generator = torch.Generator().manual_seed(0)
    if family == "transformer":
        tokens = Tokens(2, 1, "first", space=(16, 24))
        return Counted(tokens, tokens.patch, torch.randn(1, 1, 16, 24, generator=generator), {"block": 3})
    model = Linear()
    with torch.no_grad():
        model.body.bias.add_(1)
    return Counted(model, model.stem, torch.randn(1, 1, 16, 16, generator=generator), {"channel": 6, "window": 225})


@pytest.mark.parametrize("name", SHELF.names())
def test_a_method_costs_what_it_declares(name: str) -> None:
    method: Method = SHELF.load(name)()
    counted = network(method.family)
    assert counted.of(method) == counted.declared(method)


@pytest.mark.parametrize("method", OTHERS, ids=lambda method: method.name)
def test_other_settings_cost_what_they_declare(method: Method) -> None:
    counted = network(method.family)
    assert counted.of(method) == counted.declared(method)
    default = type(method)()
    assert counted.declared(default) != counted.declared(method)


@pytest.mark.parametrize("name", [name for name in SHELF.names() if SHELF.load(name).family == "gradient"])
def test_a_second_target_costs_no_forward_pass_of_a_method_of_gradients(name: str) -> None:
    method: Method = SHELF.load(name)()
    counted = network(method.family)
    one, two = counted.of(method), counted.of(method, torch.tensor([[0, 1]]))
    assert two[:2] == one[:2]
    assert one[2] < two[2] <= 2 * one[2]


@pytest.mark.parametrize("name", ["gradcam", "ablationcam", "scorecam", "smooth_gradcam_plus_plus"])
def test_several_layers_cost_each_their_own(name: str) -> None:
    counted = network("gradient")
    counted.things["channel"] = 6 + 6
    fused = Fused(SHELF.load(name)(), [Tap("body"), Tap("act")])
    assert counted.of(SHELF.load(name)(), layer=["body", "act"]) == counted.declared(fused)


def test_costs_are_reckoned_with() -> None:
    each: Any = Each("channel", 2)
    assert each.of(512) == 514
    assert str(each) == "2 + one for each channel"
    assert str(Each("block")) == "one for each block"
    assert (again(3, 2), more(3, -1)) == (6, 2)
    assert (again(each, 2), more(each, -1)) == (Each("channel", 4), Each("channel", 1))
    assert few(1, 1)
    assert not few(2, 1)
    assert not few(Each("block"), 1000)
