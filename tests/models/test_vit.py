"""The vision transformer: any image size, both poolings, and where its gradients are."""

import pytest
import torch
from torch import nn

from medcam.explainers import explain
from medcam.models.vit import ViT


def small(**more: object) -> ViT:
    torch.manual_seed(0)
    return ViT(**{"size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3} | more).eval()


def test_tokens_by_hand() -> None:
    """One block without attention or perceptron: normalised patch plus position, and their class map."""
    network = small(depth=1, norm_epsilon=0.0)
    nn.init.zeros_(network.blocks[0].attn.out_proj.weight)
    nn.init.zeros_(network.blocks[0].mlp.linear2.weight)
    image = torch.rand(1, 1, 32, 32)
    patch = image[0, 0, 8:16, 24:32].flatten() @ network.patch_embedding.weight.flatten(1).T
    token = patch + network.patch_embedding.bias + network.position[0, :, 1, 3]
    wanted = (token - token.mean()) / token.std(correction=0)
    torch.testing.assert_close(network.feature_map(image)[0, :, 1, 3], wanted, rtol=1e-4, atol=1e-5)
    maps = network.head.map(network.feature_map(image))
    torch.testing.assert_close(network(image), maps.mean((2, 3)) + network.head.bias)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("stem", [True, False])
def test_patches_have_no_order_but_their_position(pooling: str, stem: bool) -> None:
    """Without position embeddings a picture and the same patches rearranged are one; with them they are not."""
    network = small(pooling=pooling, convolutional_stem=False) if not stem else small(pooling=pooling)
    image = torch.rand(1, 1, 32, 32)
    swapped = image.clone()
    swapped[..., :8, :8], swapped[..., 16:24, 8:16] = image[..., 16:24, 8:16], image[..., :8, :8]
    with torch.no_grad():
        network.position.mul_(50)
        assert float((network(image) - network(swapped)).abs()) > 1e-3
        network.position.zero_()
        torch.testing.assert_close(network(image), network(swapped), rtol=1e-4, atol=1e-5)


def test_a_larger_image_is_seen_in_the_same_field_of_view() -> None:
    """Trained at 32, run at 64: the position of a cell is that of the same place."""
    network = small()
    with torch.no_grad():
        ramp = torch.arange(4.0) + 0.5
        network.position.copy_(ramp.expand(1, 24, 4, 4))
        nn.init.zeros_(network.patch_embedding.weight)
        seen: list[torch.Tensor] = []
        network.blocks.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        network(torch.rand(1, 1, 64, 64))
    columns = seen[0][0, :, 0].reshape(8, 8)[0] - network.patch_embedding.bias[0]
    torch.testing.assert_close(columns[2:6], (torch.arange(2.0, 6.0) + 0.5) / 2, rtol=0, atol=0.1)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("stem", [True, False])
def test_no_pixel_goes_unseen(pooling: str, stem: bool) -> None:
    """37 x 43 pixels in patches of 8: the last row and column lie in patches that reach over the edge."""
    network = small(pooling=pooling, convolutional_stem=stem)
    image = torch.rand(1, 1, 37, 43, requires_grad=True)
    assert network.feature_map(image).shape[2:] == ((1, 1) if pooling == "cls" else (5, 6))
    (gradient,) = torch.autograd.grad(network(image).sum(), image)
    seen = (gradient != 0)[0, 0].float()
    assert float(seen[-1].mean()) > 0.5
    assert float(seen[:, -1].mean()) > 0.5
    inside = torch.nn.functional.pad(image.detach(), (0, 5, 0, 3))
    torch.testing.assert_close(network(image), network(inside))


@pytest.mark.parametrize("axes", [2, 3])
def test_attention_weights_are_seen_and_add_up_to_one(axes: int) -> None:
    network = small(spatial_dims=axes, pooling="cls")
    seen: list[torch.Tensor] = []
    network.blocks[1].attn.drop_weights.register_forward_hook(lambda module, args, output: seen.append(output))
    network(torch.rand(2, 1, *[32] * axes))
    tokens = 1 + 4**axes
    assert seen[0].shape == (2, 3, tokens, tokens)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 3, tokens))


def test_with_a_class_token_gradients_end_in_the_last_attention() -> None:
    """Behind it only the token reaches the logits: a map there would be empty, and before it none is."""
    network = small(pooling="cls", out_channels=2)
    seen: dict[str, torch.Tensor] = {}
    for name in ("blocks.1.norm1", "blocks.1", "norm"):
        network.get_submodule(name).register_forward_hook(
            lambda m, args, output, name=name: seen.update({name: output})
        )
    logit = network(torch.rand(1, 1, 32, 32))[:, 1].sum()
    gradients = dict(zip(seen, torch.autograd.grad(logit, list(seen.values())), strict=True))
    patches = {name: gradient[:, 1:] for name, gradient in gradients.items()}  # without the class token
    assert bool((patches["blocks.1.norm1"].abs().sum(-1) > 0).all())
    assert float(patches["blocks.1"].abs().sum()) == 0
    assert float(patches["norm"].abs().sum()) == 0
    explained = explain(network, torch.rand(1, 1, 32, 32), "hirescam", targets=1)
    assert explained.layer == "blocks.1.norm1"
    assert explained.alignment.how == "composed"
    assert float(explained.evidence.abs().min()) > 0


def test_a_convolutional_stem_keeps_cells_at_the_centres_of_their_patches() -> None:
    network = small(convolutional_stem=True, size=64, patch=16)
    alignment = explain(network, torch.rand(1, 1, 64, 64)).alignment
    assert (alignment.how, alignment.stride, alignment.offset, alignment.slack) == ("composed", (16, 16), (7.5, 7.5), 0)
    uneven = small(spatial_dims=3, convolutional_stem=True, size=(4, 32, 32), patch=(2, 16, 16))
    alignment = explain(uneven, torch.rand(1, 1, 4, 32, 32)).alignment
    assert (alignment.stride, alignment.offset) == ((2, 16, 16), (0.5, 7.5, 7.5))
    with pytest.raises(ValueError, match="powers of two"):
        small(convolutional_stem=True, patch=12)
