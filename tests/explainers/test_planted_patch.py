"""Transformers that learn in a second to see a bright patch: maps peak in the cell where it is.

A faint patch, because behind layer normalisations a clear one no longer has a gradient that speaks for it.
"""

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.models.vit import ViT
from tests.explainers.transformers import Swin, Tokens

SPACES = {2: (16, 24), 3: (8, 12, 16)}
ATTRIBUTION = ["transformer_attribution", "transformer_lrp"]


def patches(axes: int, count: int, seed: int, bright: float) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, one patch of it bright in half of the images; whether it is, and its cell (count, axes)."""
    generator = torch.Generator().manual_seed(seed)
    space = SPACES[axes]
    x = 0.2 * torch.randn(count, 1, *space, generator=generator)
    present = torch.randint(2, (count,), generator=generator)
    cells = torch.stack([torch.randint(size // 4, (count,), generator=generator) for size in space], dim=1)
    for image, kind, cell in zip(x, present.tolist(), cells.tolist(), strict=True):
        image[(0, *(slice(4 * at, 4 * at + 4) for at in cell))] += bright * kind
    return x, present, cells


@functools.cache
def trained(axes: int, extras: int, reads: str, depth: int) -> Tokens:
    model = Tokens(axes, extras, reads, depth=depth, classes=1, space=SPACES[axes])
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(120):
        x, present, _ = patches(axes, 64, step, bright=1.5)
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], present.float()).backward()
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("extras", "reads", "depth", "bright", "names"),
    [
        # transformer_lrp finds a faint one in 83 of 100 planes, which is less than what is asked here
        (1, "first", 1, 0.5, ["attention_rollout", "transformer_attribution", "legrad", "hirescam", "gradcam"]),
        (0, "all", 2, 1.5, ["attention_rollout", *ATTRIBUTION]),
    ],
)
def test_maps_peak_in_the_cell_of_the_patch(
    axes: int, extras: int, reads: str, depth: int, bright: float, names: list[str]
) -> None:
    model = trained(axes, extras, reads, depth)
    x, present, cells = patches(axes, 80, 1000, 1.5)
    assert ((model(x)[:, 0] > 0) == (present == 1)).float().mean() > 0.95, "it has learned to see them"
    x, present, cells = patches(axes, 80, 1000, bright)
    for name, explained in explain(model, x[present == 1], names, 1).items():
        shape = explained.evidence.shape[2:]
        places = torch.stack(torch.unravel_index(explained.evidence[:, 0].flatten(1).argmax(1), shape), dim=1)
        right = (places == cells[present == 1]).all(1).float().mean()
        assert right > 0.9, (name, right)
        assert explained.alignment.stride == (4,) * axes


@pytest.mark.parametrize("name", ATTRIBUTION)
def test_maps_of_a_trained_network_stay_what_they_are_when_its_weights_are_rounded(name: str) -> None:
    model = trained(2, 1, "first", 1)
    x, present, _ = patches(2, 40, 1000, 0.5)
    rounded = copy.deepcopy(model).half().float()
    maps, others = (explain(one, x[present == 1], name, 1).evidence.flatten(1) for one in (model, rounded))
    alike = [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(maps, others, strict=True)]
    assert sorted(alike)[len(alike) // 10] > 0.99


def theirs(axes: int, kind: str) -> nn.Module:
    from monai.networks.nets import ViT as Theirs

    space = {2: (16, 32), 3: (8, 16, 32)}[axes]
    return Theirs(1, space, 8, 12, 24, 2, 2, proj_type=kind, classification=True, spatial_dims=axes)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("make", "layer", "patch"),
    [
        (lambda axes: Tokens(axes, extras=5, space=(16, 32, 8)[:axes]), "blocks.0.norm1", 4),
        (lambda axes: theirs(axes, "conv"), "blocks.0.norm1", 8),
        (lambda axes: theirs(axes, "perceptron"), "blocks.0.norm1", 8),
        (lambda axes: ViT(axes, 1, 2, 32, 8, 12, 2, 2, pooling="cls"), "blocks.0.norm1", 8),
        (lambda axes: Swin(axes), "body.layers1.0.blocks.0.norm1", 2),
    ],
)
def test_a_patch_of_the_input_changes_the_cell_that_lies_on_it_and_no_other(make, layer, patch, axes) -> None:  # type: ignore[no-untyped-def]
    """Before the first attention: every cell is found by the place that is said of it."""
    torch.manual_seed(0)
    space = {"Tokens": (16, 32, 8), "Swin": (32, 64, 32)}.get(type(make(axes)).__name__, (8, 16, 32)[3 - axes :])[:axes]
    model, image = make(axes).eval(), torch.randn(1, 1, *space)
    explained = explain(model, image, targets=0, layer=layer)
    alignment, arrangement = explained.alignment, explained.arrangement
    seen: list[Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda m, args, output: seen.append(output.detach()))
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        cell = [int(torch.randint(size // patch, (1,), generator=generator)) for size in space]
        changed = image.clone()
        changed[(0, 0, *(slice(patch * at, patch * at + patch) for at in cell))] += torch.randn([patch] * axes)
        seen.clear()
        with torch.no_grad():
            model(image), model(changed)
        difference = arrangement.rows(seen[1] - seen[0]).abs().sum(1, keepdim=True)
        assert arrangement.evidence(difference, batch=1)[0, 0].nonzero().tolist() == [cell]
        for axis, at in enumerate(cell):
            assert alignment.offset[axis] + alignment.stride[axis] * at == patch * at + (patch - 1) / 2
