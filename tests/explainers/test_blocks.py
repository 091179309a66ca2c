"""Which layer of a transformer is explained: where patches have a gradient, at their exact place."""

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.models.vit import ViT
from tests.explainers.transformers import Swin, Tokens


@pytest.mark.parametrize("way", ["matrix", "fused", "torch"])
@pytest.mark.parametrize(
    ("extras", "reads", "layer"),
    [
        (1, "first", "blocks.2.norm1"),
        (5, "first", "blocks.2.norm1"),
        (0, "all", "norm"),
        (1, "patches", "norm"),
        (2, "all", "norm"),
    ],
)
def test_auto_is_the_last_map_whose_patches_are_read(way: str, extras: int, reads: str, layer: str) -> None:
    explained = explain(Tokens(2, extras, reads, way).eval(), torch.randn(2, 1, 16, 24), "hirescam", "all")
    assert explained.layer == layer
    assert (explained.alignment.how, explained.alignment.shape) == ("composed", (4, 6))
    assert (explained.alignment.stride, explained.alignment.offset) == ((4, 4), (1.5, 1.5))
    assert (explained.evidence.abs() > 0).all()
    assert not any("empty" in flag for flags in explained.flags.values() for flag in flags)


def test_behind_the_last_attention_a_class_token_leaves_patches_no_gradient_and_that_is_said() -> None:
    for layer in ("blocks.2", "blocks.2.norm2", "norm"):
        explained = explain(Tokens().eval(), torch.randn(1, 1, 16, 24), layer=layer)
        assert explained.evidence.abs().max() == 0
        assert "empty" in explained.flags[0, 0][0]
        assert any("explain blocks.2.norm1" in note for note in explained.notes)
    assert not explain(Tokens().eval(), torch.randn(1, 1, 16, 24), layer="blocks.1").flags


@pytest.mark.parametrize("axes", [2, 3])
def test_patches_of_grad_cam_are_those_of_the_hook(axes: int) -> None:
    """Reshaped by hand: mean gradient over the patches, times the activation, at norm1 of the last block."""
    space = (16, 24, 8)[:axes]
    model, image = Tokens(axes, extras=3).eval(), torch.randn(1, 1, *space)
    kept: list[Tensor] = []
    model.blocks[2].norm1.register_forward_hook(lambda m, args, output: kept.append(output))
    score = model(image)[0, 2]
    (gradient,) = torch.autograd.grad(score, kept[0])
    tokens, slopes = kept[0][0, 3:].detach(), gradient[0, 3:]
    wanted = (tokens @ slopes.mean(0)).reshape([size // 4 for size in space])
    torch.testing.assert_close(explain(model, image, targets=2).evidence[0, 0], wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["conv", "perceptron"])
@pytest.mark.parametrize(("axes", "space"), [(2, (16, 32)), (3, (8, 16, 32))])
def test_monais_vit_is_placed(kind: str, axes: int, space: tuple[int, ...]) -> None:
    from monai.networks.nets import ViT as Theirs

    torch.manual_seed(0)
    net = Theirs(1, space, 8, 12, 24, 2, 2, proj_type=kind, classification=True, spatial_dims=axes).eval()
    explained = explain(net, torch.randn(1, 1, *space))
    assert explained.layer == "blocks.1.norm1"
    assert explained.alignment.how == "composed"
    assert (explained.alignment.stride, explained.alignment.offset) == ((8,) * axes, (3.5,) * axes)
    assert explained.alignment.shape == tuple(size // 8 for size in space)


@pytest.mark.parametrize("axes", [2, 3])
def test_our_vit_with_patches_over_the_edge(axes: int) -> None:
    torch.manual_seed(0)
    net = ViT(axes, 1, 2, 32, 8, 24, 2, 3, pooling="cls").eval()
    explained = explain(net, torch.randn(1, 1, *(37, 32, 21)[:axes]))
    assert explained.layer == "blocks.1.norm1"
    assert explained.alignment.shape == (5, 4, 3)[:axes]
    assert explained.alignment.offset == (3.5,) * axes


@pytest.mark.parametrize(("axes", "shape"), [(2, (64, 96)), (3, (32, 32, 64))])
def test_shifted_windows_are_placed_exactly(axes: int, shape: tuple[int, ...]) -> None:
    """Without its last normalisation the cells of the last stage add up to the logit."""
    model, image = Swin(axes, normalised=False).eval(), torch.randn(1, 1, *shape)
    explained = explain(model, image, "hirescam", targets="all")
    assert explained.layer == "body.layers4.0"
    assert (explained.alignment.how, explained.alignment.slack) == ("composed", 0)
    assert explained.alignment.shape == tuple(size // 32 for size in shape)
    assert (explained.alignment.stride, explained.alignment.offset) == ((32,) * axes, (15.5,) * axes)
    bias = model.fc.bias.detach()
    torch.testing.assert_close(explained.evidence.flatten(2).sum(2), explained.scores - bias, rtol=1e-4, atol=1e-5)
    early = explain(model, image, layer="body.layers1.0.blocks.1.norm2").alignment
    assert (early.how, early.stride, early.offset) == ("composed", (2,) * axes, (0.5,) * axes)


def test_where_a_layer_normalisation_follows_no_cell_says_anything_by_itself() -> None:
    """A token that is scaled is normalised back: its gradient is at right angles to it."""
    model, image = Swin().eval(), torch.randn(1, 1, 64, 96)
    explained = explain(model, image, "hirescam", targets=1)
    assert explained.layer == "body.layers4.0.blocks.0"
    assert (explained.alignment.stride, explained.alignment.offset) == ((16, 16), (7.5, 7.5))
    before = explain(model, image, "hirescam", targets=1, layer="body.layers4.0")
    assert before.evidence.abs().max() < 1e-3 * explained.evidence.abs().max()
    assert any("cells are normalised behind body.layers4.0" in note for note in before.notes)
    assert not any("cells are normalised behind" in note for note in explained.notes)


def test_swin_unetr_is_explained_at_its_bottleneck() -> None:
    from monai.networks.nets import SwinUNETR

    torch.manual_seed(0)
    net = SwinUNETR(1, 2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(2, 2, 2, 2), spatial_dims=2).eval()
    alignment = explain(net, torch.randn(1, 1, 64, 96), targets=1).alignment
    assert (alignment.how, alignment.shape) == ("composed", (2, 3))
    assert (alignment.stride, alignment.offset) == ((32, 32), (15.5, 15.5))


def test_a_window_is_no_map() -> None:
    with pytest.raises(Exception, match="no-spatial-axes"):
        explain(Swin().eval(), torch.randn(1, 1, 64, 64), layer="body.layers1.0.blocks.0.attn")


def test_a_backbone_that_gives_all_its_stages_is_passed_over() -> None:
    """Its first tensor is an early stage, which the head does not read."""

    class Stages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high = nn.Conv2d(1, 2, 2, 2), nn.Conv2d(2, 4, 2, 2)

        def forward(self, x: Tensor) -> list[Tensor]:
            low = self.low(x)
            return [low, self.high(low)]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.fc = Stages(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.body(x)[-1].mean((2, 3)))

    torch.manual_seed(0)
    assert explain(Net().eval(), torch.randn(1, 1, 16, 16)).layer == "body.high"
