"""torchvision's and timm's own networks, where they are installed, against ours with their weights."""

import importlib.util
import re
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from medcam.models._initial import initialise
from tests.models.frozen import FROZEN
from tests.models.weights import CLASSES, NETWORKS, assert_same, digest, filled, image, layouts, network, with_head

DECLARED = torch.library.Library("torchvision", "FRAGMENT")
TIMM = {
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "vit_b_16": "vit_base_patch16_224",
}


def library(name: str) -> ModuleType:
    """Imported, also where torchvision was built for another torch: its operators are then declared, not used."""
    for needed in ("torchvision", name):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except RuntimeError:
            folder = importlib.util.find_spec("torchvision").submodule_search_locations[0]
            text = (Path(folder) / "_meta_registrations.py").read_text()
            for operator in {one or other for one, other in re.findall(r"torchvision::(\w+)|_meta\(\"(\w+)\"\)", text)}:
                DECLARED.define(f"{operator}(Tensor x) -> Tensor")
            return importlib.import_module(name)


def theirs(name: str, source: str) -> nn.Module:
    small = NETWORKS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if source == "torchvision" and small:
            vit = library("torchvision").models.VisionTransformer
            return vit(64, 16, small["depth"], small["heads"], small["width"], 4 * small["width"], num_classes=CLASSES)
        if source == "torchvision":
            return getattr(library("torchvision").models, name)(num_classes=CLASSES)
        names = {"size": "img_size", "width": "embed_dim", "depth": "depth", "heads": "num_heads"}
        more = {names[key]: value for key, value in small.items()}
        return library("timm").create_model(TIMM.get(name, name), num_classes=CLASSES, **more)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
@pytest.mark.parametrize("name", NETWORKS)
def test_ours_with_their_weights_gives_their_logits(name: str, source: str, tmp_path: Path) -> None:
    if source == "timm":
        library("torchvision")
    reference = theirs(name, source).eval()
    shapes = {key: tuple(value.shape) for key, value in reference.state_dict().items()}
    state = filled(name, shapes)
    reference.load_state_dict(state)
    torch.save(state, tmp_path / "weights.pth")
    layout = layouts(name, source)[0]
    ours = network(name, layout)
    report = initialise(ours, tmp_path / "weights.pth")
    assert report.adapted == ()
    with_head(ours, layout, state)
    with torch.no_grad():
        logits = reference(image(name))
        assert_same(ours(image(name)), logits)
    names, frozen = FROZEN.get((name, source)) or FROZEN[name, "torchvision"]
    assert digest(shapes) == names
    assert_same(logits[0], torch.tensor(frozen))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_as_large_as_torchvision_s(name: str) -> None:
    library("torchvision")
    reference = theirs(name, "torchvision")
    ours = network(name, layouts(name, "torchvision")[0])
    position = NETWORKS[name].get("width", 0)  # of the class token, one with the token here
    assert count(ours) == count(reference) - position


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
