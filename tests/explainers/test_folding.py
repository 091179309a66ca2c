"""Which batch norms may be folded, and that folding changes nothing but rounding."""

import copy

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers._folding import fold, pairs

NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


def trained(model: nn.Module) -> nn.Module:
    """With statistics and scales as after a training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


class Kinds(nn.Module):
    """Convolutions and batch norms in every relation to each other."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv, norm = CONVOLUTION[axes], NORM[axes]
        self.plain, self.plain_norm = conv(1, 4, 3, stride=2, padding=1, bias=False), norm(4)
        self.bare, self.bare_norm = conv(4, 4, 3, groups=2, dilation=2, padding=2), norm(4, affine=False)
        self.seen, self.seen_norm = conv(4, 4, 1), norm(4)  # also goes round the norm
        self.twice, self.twice_norm = conv(4, 4, 1), norm(4)
        self.first_norm, self.after = norm(4), conv(4, 4, 1)  # the norm comes first
        self.rectified, self.rectified_norm = conv(4, 4, 1), norm(4)  # a ReLU between
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.plain_norm(self.plain(x)))
        x = torch.relu(self.bare_norm(self.bare(x)))
        y = self.seen(x)
        x = self.seen_norm(y) + y
        x = self.twice_norm(self.twice(x))
        x = self.twice_norm(self.twice(x))
        x = self.after(torch.relu(self.first_norm(x)))
        x = self.rectified_norm(torch.relu(self.rectified(x)))
        return self.fc(x.flatten(2).mean(2))


@pytest.mark.parametrize("axes", [2, 3])
def test_folds_what_nobody_else_sees_and_nothing_else(axes: int) -> None:
    model, x = trained(Kinds(axes)), torch.randn(3, 1, *[12] * axes)
    found = pairs(model, x, [])
    assert sorted(found) == [("bare", "bare_norm"), ("plain", "plain_norm")]
    expected, made = model(x), copy.deepcopy(model)
    fold(made, found)
    assert isinstance(made.plain_norm, nn.Identity)
    torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-5)


def test_layers_that_are_looked_at_stay() -> None:
    model, x = trained(Kinds(2)), torch.randn(1, 1, 12, 12)
    assert pairs(model, x, ["plain"]) == [("bare", "bare_norm")]
    assert len(pairs(model, x, ["plain_norm"])) == 1  # its input would be another


def test_hooks_outputs_and_other_names_keep_a_convolution_as_it_is() -> None:
    class Small(nn.Module):
        def __init__(self, returns: bool = False) -> None:
            super().__init__()
            self.conv, self.norm, self.returns = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), returns

        def forward(self, x: Tensor) -> object:
            y = self.conv(x)
            return (self.norm(y), {"features": y}) if self.returns else self.norm(y)

    x = torch.randn(1, 1, 8, 8)
    assert pairs(Small().eval(), x, []) == [("conv", "norm")]
    assert pairs(Small(returns=True).eval(), x, []) == []
    hooked, named = Small().eval(), Small().eval()
    hooked.conv.register_forward_hook(lambda m, args, output: None)
    named.also = named.norm
    assert pairs(hooked, x, []) == pairs(named, x, []) == []
    without = Small().eval()
    without.norm = nn.BatchNorm2d(2, track_running_stats=False).eval()
    assert pairs(without, x, []) == []


@pytest.mark.parametrize("axes", [2, 3])
def test_of_monais_networks(axes: int) -> None:
    """All of a ResNet; of a DenseNet, whose norms come first, one in each layer and the stem's."""
    from monai.networks.nets import DenseNet, ResNet

    residual = ResNet("basic", [1, 1, 1, 1], [4, 6, 8, 10], spatial_dims=axes, n_input_channels=1, num_classes=3)
    dense = DenseNet(axes, 1, 3, init_features=8, growth_rate=4, block_config=(2, 3))
    x = torch.randn(1, 1, *[32] * axes)
    for model, count in ((residual, None), (dense, 1 + 5)):
        trained(model)
        found = pairs(model, x, [])
        norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
        assert len(found) == (count or norms)
        expected, made = model(x), copy.deepcopy(model)
        fold(made, found)
        torch.testing.assert_close(made(x), expected, rtol=1e-3, atol=1e-4)
