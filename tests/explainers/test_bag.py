"""A bag in turns is the bag at once, image by image."""

import torch

from medcam.explainers import explain, explain_bag
from medcam.models._attention import Attending
from medcam.models.mil import MIL
from medcam.models.resnet import ResNet


def network() -> MIL:
    torch.manual_seed(0)
    mil = MIL(ResNet(2, 3, 3, (4, 8), (1, 1), (1, 2)), 16).eval()
    torch.nn.init.normal_(mil.attention.weight.weight, std=3)  # so that it does attend
    return mil


def odds(output: torch.Tensor) -> torch.Tensor:
    """Of the second of three classes against the others: not linear in the logits."""
    return output[:, 1] - output[:, [0, 2]].logsumexp(1)


def test_in_turns_the_maps_times_the_weights_are_those_of_the_whole_bag() -> None:
    mil = network()
    halves = Attending.of(mil)
    assert halves is not None
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    bag = images.transpose(0, 1)[None]
    for method in ("gradcam", "hirescam"):
        whole = explain(mil, bag, method, odds, "encoder.head.map")
        parts, looked = explain_bag(halves, images, method, odds, "encoder.head.map", at_once=3)
        assert [len(part.grids) for part in parts] == [3, 3, 1]
        maps = torch.cat([part.evidence[:, 0] for part in parts])
        torch.testing.assert_close(maps * looked.weights[:, None, None], whole.evidence[0, 0])
        torch.testing.assert_close(looked.output.detach(), mil(bag).detach())
    assert all(parameter.grad is None for parameter in mil.parameters())
