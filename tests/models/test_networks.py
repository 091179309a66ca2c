import math

import monai.networks.nets as nets
import pytest
import torch
from torch import nn

from medcam.models import SHELF
from medcam.models._pooling import pool
from medcam.models.densenet import DenseNet
from medcam.models.resnet import ResNet


def test_the_shelf_lists_the_networks() -> None:
    assert [SHELF.load(name).__name__ for name in SHELF.names()] == [
        "DenseNet",
        "EfficientNet",
        "MIL",
        "MobileNetV2",
        "MobileNetV3",
        "ResNet",
        "Video",
        "ViT",
    ]


@pytest.mark.parametrize(("spatial_dims", "bottleneck"), [(2, False), (2, True), (3, False)])
def test_resnet_equals_the_paper_s_network_as_monai_builds_it(spatial_dims: int, bottleneck: bool) -> None:
    torch.manual_seed(0)
    theirs = nets.ResNet(
        "bottleneck" if bottleneck else "basic",
        [2, 2, 2, 2],
        [8, 16, 24, 32],
        spatial_dims=spatial_dims,
        n_input_channels=1,
        conv1_t_stride=2,
        num_classes=3,
        bias_downsample=False,
    ).eval()
    for module in theirs.modules():  # batch norms that do something
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    ours = ResNet(spatial_dims, 1, 3, widths=(8, 16, 24, 32), bottleneck=bottleneck).eval()
    weights = theirs.state_dict()
    head = {"head.map.weight": weights.pop("fc.weight"), "head.bias": weights.pop("fc.bias")}
    head["head.map.weight"] = head["head.map.weight"].reshape(ours.head.map.weight.shape)
    assert len(weights) + 2 == len(ours.state_dict())
    names = [name for name in ours.state_dict() if not name.startswith("head")]
    ours.load_state_dict(dict(zip(names, weights.values(), strict=True)) | head)
    image = torch.rand(2, 1, *(64, 48, 32)[:spatial_dims])
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_densenet_equals_monai_s(spatial_dims: int) -> None:
    torch.manual_seed(0)
    theirs = nets.DenseNet(spatial_dims, 1, 3, 8, 4, (2, 2, 2)).eval()
    ours = DenseNet(spatial_dims, 1, 3, 8, 4, (2, 2, 2)).eval()
    ours.features.load_state_dict(theirs.features.state_dict())
    with torch.no_grad():
        ours.head.map.weight.copy_(theirs.class_layers.out.weight.reshape(ours.head.map.weight.shape))
        ours.head.bias.copy_(theirs.class_layers.out.bias)
    image = torch.rand(2, 1, *(64, 48, 32)[:spatial_dims])
    torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-4)


def test_strides_and_stem_make_the_cells_that_were_asked_for() -> None:
    fine = ResNet(
        3, 1, 1, (4, 8, 8), (0, 1, 1), (1, (1, 2, 2), 1), stem_kernel=5, stem_stride=(1, 2, 2), stem_pool=False
    )
    assert fine.stages(fine.stem(torch.rand(1, 1, 16, 32, 32))).shape == (1, 8, 16, 8, 8)
    dense = DenseNet(2, 1, 1, 8, 4, (2, 2), stem_stride=1, stem_pool=False)
    assert dense.features(torch.rand(1, 1, 32, 32)).shape[2:] == (16, 16)


def test_log_sum_exp_pooling_does_not_dilute_a_small_lesion_and_its_map_is_the_evidence() -> None:
    torch.manual_seed(0)
    network = ResNet(2, 1, 1, (4, 8), (1, 1), (1, 2), stem_pool=False, pooling="log-sum-exp").eval()
    features = network.stages(network.stem(torch.rand(1, 1, 64, 64))).detach()
    features.requires_grad_()
    gradient = torch.autograd.grad(network.head(features).sum(), features)[0]
    grad_cam = (gradient.mean((2, 3), keepdim=True) * features).sum(1).relu()
    evidence = network.head.map(features)[:, 0].relu() / features[0, 0].numel()
    torch.testing.assert_close(grad_cam, evidence)

    cells = torch.full((1, 1, 30, 30, 30), -20.0)
    cells[0, 0, 3, 4, 5] = 4.0
    assert pool(cells, "log-sum-exp", (2, 3, 4)).item() == pytest.approx(4.0, abs=1e-3)
    assert pool(cells, "mean", (2, 3, 4)).item() == pytest.approx(-20 + 24 / 27000)


def test_poolings_on_two_numbers() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert pool(logits, "max", (1,)).item() == pytest.approx(math.log(3))
    assert pool(logits, "mean", (1,)).item() == pytest.approx(math.log(3) / 2)
    assert pool(logits, "log-sum-exp", (1,)).item() == pytest.approx(math.log(4))
    assert pool(logits, "log-mean-exp", (1,)).item() == pytest.approx(math.log(2))
    assert pool(logits, "log-sum-exp", (1,), 2.0).item() == pytest.approx(math.log(1 + 9) / 2)
    assert pool(logits, "log-mean-exp", (1,), 2.0).item() == pytest.approx(math.log(5) / 2)
    with pytest.raises(ValueError, match="no pooling 'median'"):
        pool(logits, "median", (1,))
