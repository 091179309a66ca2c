"""Networks by name, as large as they were published, and known without importing torch."""

import json
import subprocess
import sys

import pytest
import torch

from medcam.errors import ModelError, UsageError
from medcam.models._network import build
from medcam.models._presets import preset, preset_names, presets

PUBLISHED = {
    "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vit_b_16": 86_567_656 - 768,  # the class token has no position of its own: the two would always be added
}
"""Parameters with three channels and a thousand classes."""


def parameters(definition: dict[str, object]) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build({"network_def": definition}).parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_is_as_large_as_it_was_published(name: str) -> None:
    assert parameters(preset(name, in_channels=3, out_channels=1000)) == PUBLISHED[name]


def test_the_list_costs_no_torch() -> None:
    code = (
        "import sys; from medcam.models._presets import preset_names; from medcam.tables import member_table;"
        "member_table('models'); print(*preset_names()); print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = run.stdout.splitlines()
    assert set(names.split()) == set(preset_names()) > set(PUBLISHED)
    assert loaded == "False"


@pytest.mark.parametrize("name", preset_names())
def test_what_is_asked_for_is_made(name: str) -> None:
    """In two and three dimensions, from JSON, with dropout before the logits."""
    for axes in (2, 3):
        definition = preset(name, spatial_dims=axes, in_channels=2, out_channels=3, size=48, dropout=0.25)
        assert json.loads(json.dumps(definition)) == definition
        with torch.device("meta"):
            network = build({"network_def": definition})
            image = network if not hasattr(network, "encoder") else network.encoder
            assert image.dropout.p == 0.25
            x = torch.zeros(1, 2, *[48] * axes)
            if hasattr(network, "encoder"):
                x = torch.zeros(1, 2, 4, 48, 48)
            assert network.eval()(x).shape == (1, 3)


def test_other_arguments_replace_the_preset_s() -> None:
    assert preset("resnet50", blocks=[1, 1, 1, 1])["blocks"] == [1, 1, 1, 1]
    assert preset("vit_small", size=(96, 128))["size"] == [96, 128]
    assert preset("vit_small", spatial_dims=3)["size"] == presets()["vit_small"][1]["size"]
    assert "size" not in preset("resnet18", size=96)
    video = preset("video_resnet18", spatial_dims=3, in_channels=3, encoder="vit_small", size=(30, 96, 96))
    assert (video["encoder"]["spatial_dims"], video["encoder"]["in_channels"]) == (2, 3)
    assert (video["encoder"]["_target_"], video["encoder"]["size"]) == ("medcam.models.vit.ViT", [96, 96])
    narrow = preset("mil_resnet18", encoder={"name": "resnet18", "widths": [8, 16]}, attention_width=4)
    assert (narrow["encoder"]["widths"], narrow["attention_width"]) == ([8, 16], 4)
    with pytest.raises(ModelError, match="bundle-config"):
        build({"network_def": preset("resnet18", colour=3)})


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(UsageError, match="Did you mean resnet18") as caught:
        preset("resnet8")
    assert caught.value.code == "unknown-network"
    with pytest.raises(UsageError, match="unknown-network"):
        preset("mil_resnet18", encoder="nothing")
