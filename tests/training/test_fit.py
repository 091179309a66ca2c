import numpy as np
import torch

from medcam.evaluation.classification import auroc
from medcam.models._network import build
from medcam.training._fit import fit
from medcam.training._map_loss import Tap
from medcam.training._pictures import Pictures
from medcam.training._recipe import RECIPES, Recipe

NETWORK = {
    "_target_": "medcam.models.resnet.ResNet",
    "widths": [8, 16],
    "blocks": [1, 1],
    "strides": [1, 2],
    "stem_kernel": 3,
    "stem_pool": False,
    "pooling": "log-sum-exp",
}


def squares(count: int, shape: tuple[int, ...], seed: int) -> Pictures:
    """Noise, every second one with a bright square."""
    rng = np.random.default_rng(seed)
    images = rng.normal(90, 20, (count, 1, *shape))
    masks = np.zeros((count, *shape), bool)
    for number in range(1, count, 2):
        at = tuple(slice(n, n + 6) for n in rng.integers(4, np.array(shape) - 10))
        masks[(number, *at)] = True
        images[(number, 0, *at)] += 60
    return Pictures(images.clip(0, 255).astype(np.uint8), masks, np.arange(count))


def trained(recipe: Recipe, shape: tuple[int, ...]) -> tuple[torch.nn.Module, list[str]]:
    torch.manual_seed(0)
    network, said = build({"network_def": recipe.network_def}), []
    fit(network, recipe, squares(64, shape, 0), said.append)
    return network, said


def toy(**changes: object) -> Recipe:
    plain = {
        "label": "square",
        "modality": "DX",
        "transform": "xray",
        "options": {},
        "patients": 32,
        "healthy": 32,
        "batch": 8,
    }
    return Recipe(**{"pipeline": "toy", "network_def": NETWORK, "epochs": 12, **plain, **changes})


def test_it_learns_to_tell_and_to_point() -> None:
    network, said = trained(toy(), (48, 48))
    assert len(said) == 12
    assert not network.training
    tap, new = Tap(network.head.map), squares(40, (48, 48), 1)
    with torch.no_grad():
        logits = network(torch.from_numpy(new.images).float() / 255)[:, 0].numpy()
    assert auroc(new.masks.any((1, 2)), logits) > 0.95
    stride = 4
    for number in range(1, 40, 2):
        row, column = divmod(int(tap.output[number, 0].argmax()), tap.output.shape[-1])
        near = np.abs(np.argwhere(new.masks[number]) - stride * np.array([row, column])).max(1).min()
        assert near <= stride


def test_pieces_of_volumes_are_enough_to_learn_on() -> None:
    options = NETWORK | {"spatial_dims": 3}
    network, _ = trained(toy(network_def=options, crop=(16, 16, 16), epochs=10), (24, 24, 24))
    new = squares(24, (24, 24, 24), 1)
    with torch.no_grad():
        logits = network(torch.from_numpy(new.images).float() / 255)[:, 0].numpy()
    assert auroc(new.masks.any((1, 2, 3)), logits) > 0.9


def test_settling_cools_healthy_maps_and_moves_only_the_end_of_the_network() -> None:
    new, networks, highest = squares(40, (24, 24, 24), 1), [], []
    sick = new.masks.any((1, 2, 3))
    for settle in (0, 60):
        recipe = toy(network_def=NETWORK | {"spatial_dims": 3}, crop=(16, 16, 16), epochs=10, settle=settle)
        network, _ = trained(recipe, (24, 24, 24))
        tap = Tap(network.head.map)
        with torch.no_grad():
            network(torch.from_numpy(new.images).float() / 255)
        networks.append(network.state_dict())
        highest.append(tap.output.flatten(1).amax(1).numpy())
        assert all(weights.requires_grad for weights in network.parameters())
    assert highest[1][~sick].mean() < highest[0][~sick].mean() - 0.1
    assert auroc(sick, highest[1]) > 0.9
    first, second = networks
    moved = {name for name, value in first.items() if (value - second[name]).abs().max() > 1e-2}
    assert {"head.map.weight", "stages.1.0.bn2.bias"} < moved
    assert all(name.startswith("head.") or (name.startswith("stages.1.") and ".conv" not in name) for name in moved)


def test_the_same_seed_trains_the_same_weights() -> None:
    first, second = (trained(toy(epochs=1), (32, 32))[0].state_dict() for _ in range(2))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-4)


def test_every_recipe_makes_a_network_below_the_limit() -> None:
    for recipe in RECIPES.values():
        network = build({"network_def": recipe.network_def})
        assert sum(p.numel() for p in network.parameters()) < 1_400_000
        network.get_submodule(recipe.trunk).get_submodule("head.map")
