"""Score-CAM channel by channel as in the paper, and its grouped form where the answer is known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.scorecam import ScoreCAM
from tests.explainers.nets import Linear
from tests.explainers.slow import seen


def enlarged(values: np.ndarray, size: int) -> np.ndarray:
    """A map of `Linear` on its input: cell i sits at index 4 i along each axis."""
    for axis in range(values.ndim):
        cells = 4.0 * np.arange(values.shape[axis])
        values = np.apply_along_axis(lambda line, cells=cells: np.interp(np.arange(size), cells, line), axis, values)
    return values


def by_the_paper(
    model: nn.Module, image: Tensor, target: int, hidden: float, confidence: Callable[[Tensor], Tensor] = lambda y: y
) -> Tensor:
    """Algorithm 1 for one image (1, 1, *space), one forward pass for each channel."""
    activation = seen(model, "act", image, target)[0]
    base = confidence(model(torch.full_like(image, hidden)))[0, target].item()
    rises = []
    for channel in activation.numpy():
        mask = enlarged(channel, image.shape[-1])
        spread = mask.max() - mask.min()
        mask = (mask - mask.min()) / spread if spread > 0 else np.zeros_like(mask)
        through = image * torch.from_numpy(mask).float() + hidden * (1 - torch.from_numpy(mask).float())
        rises.append(confidence(model(through))[0, target].item() - base)
    weight = np.exp(rises) / np.exp(rises).sum()
    total = sum(weight[k] * activation[k].numpy() for k in range(len(activation)))
    return torch.from_numpy(np.maximum(total, 0)).float()


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("hidden", [0.0, 0.7])
def test_equals_the_paper(axes: int, hidden: float) -> None:
    model, x = Linear(axes).eval(), torch.randn(2, 1, *[16] * axes)
    with torch.no_grad():
        model.fc.weight.mul_(20)  # so that the scores tell the channels apart
        model.body.weight[2] = 0
        model.body.bias[2] = 0.5  # one channel is the same everywhere: its mask shows nothing
    ours = explain(model, x, ScoreCAM(hidden=hidden), targets="all", layer="act").evidence
    for sample in range(2):
        for target in range(3):
            expected = by_the_paper(model, x[sample : sample + 1], target, hidden)
            torch.testing.assert_close(ours[sample, target], expected, rtol=1e-3, atol=1e-5)


def test_equals_the_paper_of_probabilities() -> None:
    x = torch.randn(1, 1, 16, 16)
    classes, binary = Linear().eval(), Linear(classes=1).eval()
    with torch.no_grad():
        classes.fc.weight.mul_(20)
        binary.fc.weight.mul_(20)
    method = ScoreCAM(hidden=0.0, of="probability")
    for head, confidence in (("softmax", lambda y: y.softmax(1)), ("sigmoid", torch.sigmoid)):
        ours = explain(classes, x, method, targets=2, layer="act", head=head).evidence[0, 0]
        torch.testing.assert_close(ours, by_the_paper(classes, x, 2, 0.0, confidence), rtol=1e-3, atol=1e-5)
    ours = explain(binary, x, method, targets=1, layer="act").evidence[0, 0]
    torch.testing.assert_close(ours, by_the_paper(binary, x, 0, 0.0, torch.sigmoid), rtol=1e-3, atol=1e-5)


def test_what_has_no_probability_is_refused() -> None:
    model, x, method = Linear().eval(), torch.randn(1, 1, 16, 16), ScoreCAM(of="probability")
    with pytest.raises(UsageError, match="bad-setting"):
        explain(model, x, method, targets=lambda output: output[:, 0])
    with pytest.raises(UsageError, match="bad-setting"):
        explain(model, x, method, targets=0, head="regression")


@pytest.mark.parametrize("axes", [2, 3])
def test_a_planted_blob_is_found(axes: int) -> None:
    """F2: nothing but a blob, a 1x1 convolution, the mean and a linear layer."""
    torch.manual_seed(0)
    kind = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[axes]
    model = nn.Sequential(kind(1, 4, 1, bias=False), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    x = torch.zeros(1, 1, *[12] * axes)
    blob = (slice(3, 6),) * axes
    x[0, 0][blob] = 1
    evidence = explain(model, x, "scorecam", targets=1).evidence[0, 0]
    hot = torch.zeros_like(evidence)
    hot[blob] = 1
    assert evidence.max() > 0
    assert torch.equal(evidence > 0, hot > 0)


class Counting(nn.Module):
    """Counts the images that pass, and the largest batch; traces of shapes do not count."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.images, self.largest = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta" and len(x) > 0 and x.is_contiguous():
            self.images += len(x)
            self.largest = max(self.largest, len(x))
        return self.model(x)


def test_as_many_groups_as_channels_change_nothing() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    plain, grouped = (explain(model, x, ScoreCAM(groups=g), targets="all").evidence for g in (None, 6))
    assert torch.equal(plain, grouped)


def test_channels_that_look_the_same_are_asked_once() -> None:
    """Six channels of two forms: two forward passes tell what six do."""
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(20)
        for channel in range(2, 6):  # twice, three times as strong: the same once stretched
            model.body.weight[channel] = (channel // 2 + 1) * model.body.weight[channel % 2]
            model.body.bias[channel] = (channel // 2 + 1) * model.body.bias[channel % 2]
    plain = explain(model, x, ScoreCAM(), targets="all", layer="act").evidence
    counting = Counting(model).eval()
    explain(counting, x, ScoreCAM(groups=2), targets="all", layer="model.act", budget=2)  # traced
    counting.images = counting.largest = 0
    grouped = explain(counting, x, ScoreCAM(groups=2), targets="all", layer="model.act", budget=2)
    torch.testing.assert_close(grouped.evidence, plain, rtol=1e-4, atol=1e-6)
    assert counting.images == 2 * (1 + 2)  # captured, asked
    assert counting.images == 2 * ScoreCAM(groups=2).forwards
    assert counting.largest == 2
    assert "2 of 6 channels were asked" in grouped.notes


class Spots(nn.Module):
    """Channels that each see one of four spots, and everything else through a fog; the spots speak unlike for a class.

    Fog raises a mask nearly everywhere: by their cells' values, masks of one fog are nearer than masks of one spot.
    """

    def __init__(self, fog: Tensor) -> None:
        super().__init__()
        at, centres = torch.arange(24.0), torch.tensor([[5.0, 5], [5, 18], [18, 5], [18, 18]])
        squared = (at[:, None] - centres[:, 0, None, None]) ** 2 + (at - centres[:, 1, None, None]) ** 2
        self.spots = torch.exp(-squared / 6)  # (4, 24, 24)
        self.shapes = torch.cat([level + (1 - level) * self.spots for level in fog])  # (4 n, 24, 24)
        self.shapes[:, 0, 0] = 0
        self.act, self.fc = nn.Identity(), nn.Linear(4, 1, bias=False)
        self.fc.weight = nn.Parameter(torch.tensor([[4.0, 1, -1, -4]]))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.act(x * self.shapes)
        return self.fc((x * self.spots).sum((2, 3)) / self.spots.sum((1, 2))) + 0 * seen.sum()


def ranks(*maps: Tensor) -> float:
    return float(spearmanr(*(one.flatten().numpy() for one in maps)).statistic)


def test_groups_are_of_one_shape_whatever_the_fog() -> None:
    """Sixty-four channels, four spots in sixteen fogs: four questions tell which spot speaks for the class."""
    generator = torch.Generator().manual_seed(0)
    model = Spots(0.5 * torch.rand(16, generator=generator)).eval()
    x = 1 + 0.1 * torch.randn(1, 1, 24, 24, generator=generator)
    plain, grouped = (explain(model, x, ScoreCAM(groups=g, hidden=0.0), 1, "act").evidence for g in (None, 4))
    assert ranks(plain, model.shapes.mean(dim=0) * x) < 0.9  # all channels weighted alike
    assert ranks(plain, grouped) > 0.98
    assert grouped.argmax() == plain.argmax()


def test_channels_of_one_shape_but_for_noise_and_contrast_are_one_group() -> None:
    """Forty channels, noisy copies of four: four groups rank the cells nearly as all do."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 40, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 2)
    ).eval()
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[:4].repeat(10, 1, 1, 1) + 0.02 * torch.randn(40, 1, 5, 5))
        model[0].bias.zero_()
    x = torch.randn(1, 1, 24, 24)
    plain, grouped = (explain(model, x, ScoreCAM(groups=g), targets=1).evidence for g in (None, 4))
    assert ranks(plain, grouped) > 0.98


def test_a_channel_that_is_the_same_everywhere_weighs_as_nothing_seen_among_groups_too() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        model.body.weight[2] = 0
        model.body.bias[2] = 0.5
    plain, grouped = (explain(model, x, ScoreCAM(groups=g), 0, "act").evidence for g in (None, 5))
    assert torch.equal(plain, grouped)


def test_more_groups_than_forms_do_no_harm() -> None:
    """Channels that differ by rounding alone are not set against each other."""
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(20)
        for channel in range(2, 6):
            model.body.weight[channel] = (1 + channel / 3) * model.body.weight[channel % 2]
            model.body.bias[channel] = (1 + channel / 3) * model.body.bias[channel % 2]
    plain, grouped = (explain(model, x, ScoreCAM(groups=g), "all", "act").evidence for g in (None, 4))
    torch.testing.assert_close(grouped, plain, rtol=1e-3, atol=1e-5)


def test_progress_is_told_to_the_end_and_dead_channels_are_not_asked() -> None:
    told: list[tuple[int, int]] = []
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        model.body.bias.copy_(torch.tensor([100.0, -100, 100, 100, 100, 100]))  # the second never fires
    explain(model, x, ScoreCAM(), 0, layer="act", budget=4, progress=lambda *at: told.append(at))
    assert told == [(4, 10), (5, 10), (9, 10), (10, 10)]


@pytest.mark.parametrize("settings", [{"groups": 0}, {"hidden": "black"}, {"of": "odds"}])
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        ScoreCAM(**settings)  # type: ignore[arg-type]
