"""Where cells lie: composed offsets against measured receptive fields, and planted lesions against the map's peak."""

import copy

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.explainers._alignment import align
from medcam.explainers._layer import find
from medcam.explainers._trace import trace
from medcam.grid import Grid
from tests.explainers.nets import FrameWise, Linear


class Plain(nn.Sequential):
    """VGG-like: convolutions and max pools."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((1, 4), (4, 4), (4, 8), (8, 8)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2)]
        super().__init__(nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


class Odd(nn.Sequential):
    """Unpadded, dilated, asymmetrically padded and transposed convolutions, and an even kernel."""

    def __init__(self) -> None:
        super().__init__(
            nn.ZeroPad2d((0, 3, 2, 0)),
            nn.Conv2d(1, 2, 5, stride=3),
            nn.Conv2d(2, 2, 3, padding=1, dilation=2),
            nn.Conv2d(2, 2, 2, stride=2, padding=1),
            nn.AvgPool2d(3, 2, 1),
            nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1),
        )


def network(name: str, axes: int = 2) -> tuple[nn.Module, str]:
    from monai.networks.nets import DenseNet121, EfficientNetBN, ResNet

    torch.manual_seed(0)
    narrow = {"spatial_dims": axes, "n_input_channels": 1, "num_classes": 2}
    if name == "resnet, stem stride 1":
        return ResNet("basic", [1, 1, 1, 1], [4, 4, 8, 8], **narrow), "layer4"
    if name == "resnet, stem stride 2":
        return ResNet("basic", [1, 1, 1, 1], [4, 4, 8, 8], conv1_t_stride=2, **narrow), "layer4"
    if name == "densenet":
        net = DenseNet121(axes, 1, 2, init_features=4, growth_rate=2, block_config=(1, 2, 2, 1))
        return net, "class_layers.relu"
    if name == "efficientnet":
        return EfficientNetBN(
            "efficientnet-b0", pretrained=False, spatial_dims=axes, in_channels=1, num_classes=2
        ), "_conv_head"
    return (Plain(), "0") if name == "plain" else (Odd(), "5")


def composed(model: nn.Module, layer: str, x: Tensor):  # type: ignore[no-untyped-def]
    traced = trace(model.eval(), x)
    tap, _ = find(model, traced, layer, x.ndim - 2)
    return align(model, x, traced.call(tap.module, tap.call), "output")[1]


def linearised(model: nn.Module) -> nn.Module:
    """Kernels of ones, no activations, average for maximum, no gates: a gradient is then the receptive field."""
    model = copy.deepcopy(model).eval().double()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            kind = type(child).__name__
            if kind in ("ReLU", "MemoryEfficientSwish", "Swish", "SiLU"):
                setattr(parent, name, nn.Identity())
            elif kind.startswith("MaxPool"):
                pool = nn.AvgPool2d if kind.endswith("2d") else nn.AvgPool3d
                setattr(parent, name, pool(child.kernel_size, child.stride, child.padding))
            elif name.startswith("_se_adapt"):
                setattr(parent, name, Closed())
            elif "Conv" in kind and hasattr(child, "weight"):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
    return model


class Closed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:2], *[1] * (x.ndim - 2))


def centre_of_receptive_field(model: nn.Module, layer: str, x: Tensor, cell: int) -> float:
    """Along the first axis, by the gradient of one cell in the middle of the others."""
    seen: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, args, output: seen.append(output))
    x = x.double().requires_grad_()
    model(x)
    handle.remove()
    value = seen[0][0, :, cell].flatten(1).sum()
    (gradient,) = torch.autograd.grad(value, x)
    profile = gradient.abs().flatten(3).sum((0, 1, 3))
    return float((profile * torch.arange(len(profile))).sum() / profile.sum())


@pytest.mark.parametrize(
    ("name", "axes", "shape"),
    [
        ("resnet, stem stride 1", 2, (448, 32)),
        ("resnet, stem stride 2", 2, (512, 32)),
        ("densenet", 2, (512, 32)),
        ("efficientnet", 2, (1536, 32)),
        ("plain", 2, (256, 32)),
        ("odd", 2, (96, 96)),
        ("resnet, stem stride 1", 3, (448, 16, 16)),
        ("densenet", 3, (512, 32, 32)),
    ],
)
def test_composed_offset_is_the_centre_of_the_receptive_field(name: str, axes: int, shape: tuple[int, ...]) -> None:
    model, layer = network(name, axes)
    x = torch.ones(1, 1, *shape)
    alignment = composed(model, layer, x)
    assert alignment.how == "composed"
    assert alignment.slack == 0
    cells = alignment.shape[0]
    errors = []
    for cell in (cells // 2, cells // 2 + 1):
        measured = centre_of_receptive_field(linearised(model), layer, x, cell)
        errors.append((measured - alignment.offset[0] - alignment.stride[0] * cell) / alignment.stride[0])
    if name == "odd":  # cells behind a transposed convolution sit by turns left and right of where their grid says
        errors = [sum(errors) / 2]
    assert max(map(abs, errors)) < 1e-3, errors


@pytest.mark.parametrize("name", ["resnet, stem stride 1", "resnet, stem stride 2", "densenet", "plain"])
def test_a_planted_lesion_is_where_the_map_says(name: str) -> None:
    """Positive random kernels, so that a bright blob is hot; the map's centre of mass against the blob's place."""
    model, _ = network(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    size, errors, stretched = 256, [], []
    rows = torch.arange(size)
    for row, column in ((110, 140), (121, 117), (134, 128), (127, 133)):
        blob = torch.exp(-(((rows - row)[:, None] ** 2 + (rows - column)[None] ** 2) / (2 * 6.0**2)))
        lit = explain(model, blob[None, None], "hirescam", targets=0)
        dark = explain(model, torch.zeros(1, 1, size, size), "hirescam", targets=0)
        cell = lit.alignment.stride[0]
        for exact, found in ((True, errors), (False, stretched)):
            heat = (lit.on_input(exact) - dark.on_input(exact))[0, 0].clamp(min=0).double()
            heat = heat * (heat > 0.2 * heat.max())
            total = heat.sum()
            found.append(abs(float((heat.sum(1) * rows).sum() / total) - row) / cell)
            found.append(abs(float((heat.sum(0) * rows).sum() / total) - column) / cell)
    assert max(errors) <= 0.25, errors
    if name.startswith("resnet"):
        assert max(stretched) > 0.3, stretched


def test_residual_and_concatenated_branches_agree() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Conv2d(2, 3, 3, stride=2, padding=1)
            self.short = nn.Conv2d(2, 3, 1, stride=2)
            self.last = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.cat([self.main(x) + self.short(x), self.short(x)], dim=1))

    alignment = composed(Branches(), "last", torch.zeros(1, 2, 16, 16))
    assert (alignment.how, alignment.stride, alignment.offset, alignment.slack) == ("composed", (2, 2), (0, 0), 0)


def test_branches_that_disagree_are_averaged_and_say_by_how_much() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Conv2d(1, 1, 3, stride=2, padding=1)
            self.short = nn.AvgPool2d(2)
            self.last = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.main(x) + self.short(x))

    alignment = composed(Shifted(), "last", torch.zeros(1, 1, 16, 16))
    assert (alignment.offset, alignment.slack) == ((0.25, 0.25), 0.25)


class Flipped(nn.Module):
    """Flips its input, which kernel and stride cannot tell."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flip(-1))


def test_what_cannot_be_composed_is_measured_and_said() -> None:
    torch.manual_seed(0)
    explained = explain(Flipped(), torch.randn(1, 1, 64, 64), targets=0, layer="inner.act")
    alignment = explained.alignment
    assert alignment.how == "measured"
    assert explained.sample().alignment == "measured"
    assert any("measured" in note for note in explained.notes)
    for cell in (4, 8, 12):
        row, column = (alignment.offset[i] + alignment.stride[i] * cell for i in (0, 1))
        assert row == pytest.approx(4 * cell, abs=1)
        assert column == pytest.approx(63 - 4 * cell, abs=1)


def test_a_model_that_reads_values_is_still_composed() -> None:
    """It cannot run on the meta device, so its trace is a real forward pass."""

    class Reads(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x / float(x.abs().max()))

    alignment = composed(Reads(), "act", torch.ones(3, 1, 32, 32))
    assert (alignment.how, alignment.stride, alignment.offset) == ("composed", (4, 4), (0, 0))


def test_frames_folded_into_the_batch_keep_their_time() -> None:
    model = FrameWise(Linear())
    x = torch.randn(2, 1, 5, 16, 16)
    cine = Grid.plane((5, 16, 16), frame_times_s=(0.0, 0.1, 0.2, 0.3, 0.4))
    explained = explain(model, x, targets=1, grid=cine)
    assert explained.evidence.shape == (2, 1, 5, 4, 4)
    assert explained.grid.frame_times_s == cine.frame_times_s
    frames = explain(model.image, x.transpose(1, 2).reshape(10, 1, 16, 16), targets=1).evidence
    torch.testing.assert_close(explained.evidence[:, 0], frames.reshape(2, 5, 4, 4) / 5)


def test_frames_folded_the_other_way_round_and_thinned() -> None:
    """Time before the samples, every second frame: each frame's evidence still finds its sample and second."""

    class TimeFirst(FrameWise):
        def forward(self, x: Tensor) -> Tensor:
            x = x[:, :, 1::2]
            batch, time = x.shape[0], x.shape[2]
            frames = x.permute(2, 0, 1, 3, 4).reshape(time * batch, x.shape[1], *x.shape[3:])
            return self.image(frames).reshape(time, batch, -1).mean(0)

    x = torch.randn(3, 1, 6, 16, 16)
    explained = explain(TimeFirst(Linear()), x, targets=1)
    thinned = explain(FrameWise(Linear()), x[:, :, 1::2], targets=1)
    torch.testing.assert_close(explained.evidence, thinned.evidence)
    assert (explained.alignment.stride[0], explained.alignment.offset[0]) == (2, 1)


def test_tokens_of_an_attention_block_keep_their_place() -> None:
    """Patches as tokens, attention among them, then their mean: the map has one cell per patch."""

    class Tokens(nn.Module):
        def __init__(self, fast: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.patch, self.qkv, self.norm = nn.Conv2d(1, 8, 4, stride=4), nn.Linear(8, 24), nn.LayerNorm(8)
            self.fc, self.fast = nn.Linear(8, 2), fast

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)  # (B, h w, C)
            q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)  # each (B, heads, h w, d)
            if self.fast:
                mixed = nn.functional.scaled_dot_product_attention(q, k, v)
            else:
                mixed = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
            return self.fc(self.norm(x + mixed.transpose(1, 2).flatten(2)).mean(1))

    x = torch.randn(2, 1, 16, 24)
    slow, fast = (explain(Tokens(fast), x, "hirescam", targets="all") for fast in (False, True))
    torch.testing.assert_close(slow.evidence, fast.evidence)
    for explained in (slow, fast):
        assert explained.layer == "norm"
        assert (explained.alignment.how, explained.alignment.stride) == ("composed", (4, 4))
        assert (explained.alignment.offset, explained.alignment.shape) == ((1.5, 1.5), (4, 6))
        bias = Tokens(False).fc.bias.detach()
        torch.testing.assert_close(explained.evidence.sum((2, 3)), explained.scores - bias)


def test_channels_last_maps_are_understood() -> None:
    """As in ConvNeXt and Swin: a layer that gives (B, h, w, C)."""

    class Last(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.act(self.body(torch.relu(self.stem(x)))).permute(0, 2, 3, 1))
            return self.fc(x.mean((1, 2)))

    model = Last()
    explained = explain(model, torch.randn(2, 1, 16, 24), "hirescam", targets="all", layer="norm")
    assert explained.evidence.shape == (2, 3, 4, 6)
    torch.testing.assert_close(explained.evidence.sum((2, 3)), explained.scores - model.fc.bias.detach())
