"""One image, one model: what is explained and what it is called."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medcam.errors import ModelError, UsageError
from medcam.explaining import explain_file
from medcam.models import save_bundle
from medcam.models.mil import MIL
from medcam.models.resnet import ResNet
from tests.small_dicom import scene, write_dx, write_us
from tests.stand_ins import card, network_def, save_stand_in, set_to_brightness
from tests.world import DX_BLOCK, US_BLOCK


@pytest.fixture(scope="module")
def x_ray(tmp_path_factory):
    return write_dx(tmp_path_factory.mktemp("x-ray") / "im.age", scene((200, 180), DX_BLOCK))


@pytest.fixture(scope="module")
def two_labels(tmp_path_factory):
    """Of the same image it says "bright" for one label and the opposite for the other."""
    import torch

    definition = network_def(out_channels=2)
    network = ResNet(**{name: value for name, value in definition.items() if name != "_target_"})
    set_to_brightness(network)
    with torch.no_grad():
        network.head.map.weight[1] *= -1
        network.head.bias[1] = 0.5
    facts = card("chest_xray_opacity", labels=("bright thing", "dark"), head="sigmoid")
    folder = tmp_path_factory.mktemp("two") / "bundle"
    save_bundle(folder, network, definition, facts, "For tests.", input_shape=(1, 256, 256), modality="DX")
    return str(folder)


def explained(file, model, out, target="predicted", method="gradcam", **options):
    settings = {"layer": "auto", "transform": None, "trust_code": False} | options
    return [path.name for path in explain_file(file, model, out, method, target, **settings)]


def names(stem):
    return [f"{stem}{suffix}" for suffix in (".nii.gz", ".png", ".json")]


def test_of_one_finding_the_map_is_about_it_also_below_its_threshold(tmp_path, x_ray):
    model = save_stand_in(tmp_path / "b", "chest_xray_opacity", gain=20.0)  # a score of about 0.3
    for target in ("predicted", "all", "opacity", "1"):
        assert explained(x_ray, model, tmp_path / target, target) == names("im_gradcam_opacity")
        facts = json.loads((tmp_path / target / "im_gradcam_opacity.json").read_text())
        assert facts["explained"] < 0
        evidence = nibabel.load(tmp_path / target / facts["evidence"]).get_fdata()
        assert evidence.max() > 0
    assert explained(x_ray, model, tmp_path / "against", "0") == names("im_gradcam_not-opacity")


def test_of_several_labels_each_has_its_own_map_and_name(tmp_path, x_ray, two_labels):
    assert explained(x_ray, two_labels, tmp_path / "a", "all") == [
        *names("im_gradcam_bright-thing"),
        *names("im_gradcam_dark"),
    ]
    bright, dark = (
        nibabel.load(tmp_path / "a" / f"im_gradcam_{name}.nii.gz").get_fdata() for name in ("bright-thing", "dark")
    )
    assert bright.max() > 0
    assert dark.max() <= 0
    assert explained(x_ray, two_labels, tmp_path / "b", "dark") == names("im_gradcam_dark")
    assert explained(x_ray, two_labels, tmp_path / "c") == names("im_gradcam_bright-thing")
    with pytest.raises(UsageError, match="Did you mean bright thing"):
        explained(x_ray, two_labels, tmp_path / "d", "bright thin")


def test_the_picture_shows_the_original_beside_the_paint(tmp_path, x_ray):
    explained(x_ray, save_stand_in(tmp_path / "b", "chest_xray_opacity"), tmp_path / "map")
    picture = np.asarray(Image.open(tmp_path / "map" / "im_gradcam_opacity.png")).astype(int)
    original, painted = picture[:, :256], picture[:, 260:516]
    assert (original[..., 0] == original[..., 2]).all()
    coloured = np.argwhere(painted[..., 0] != painted[..., 2])
    # rows 50 to 79 of 200 at 0.8 mm, columns 100 to 139 of 180 at 0.5 mm, as high as the model's input
    scale, left = 256 / 200, (256 - 180 * 0.5 * 256 / 160) / 2
    assert np.abs(coloured.min(0) - (50 * scale, left + 100 * scale * 0.5 / 0.8)).max() < 6
    assert np.abs(coloured.max(0) - (80 * scale, left + 140 * scale * 0.5 / 0.8)).max() < 6


def test_a_cine_has_a_map_with_frames(tmp_path):
    cine = write_us(tmp_path / "us", scene((12, 90, 100), US_BLOCK) / 15)
    explained(cine, save_stand_in(tmp_path / "b", "lung_ultrasound"), tmp_path / "map")
    (volume,) = (tmp_path / "map").glob("*.nii.gz")
    assert "B-lines-or-consolidation" in volume.name
    evidence = nibabel.load(volume).get_fdata()
    assert evidence.shape[0] == 12
    assert set(np.argwhere(evidence > evidence.max() / 2)[:, 0]) == {5, 6, 7}


def test_a_bundle_of_others_needs_to_be_told_its_input(tmp_path, x_ray):
    bundle = Path(save_stand_in(tmp_path / "b", "chest_xray_opacity"))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    del metadata["medcam"]
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ModelError, match="bundle-config"):
        explained(x_ray, str(bundle), tmp_path / "map")
    assert explained(x_ray, str(bundle), tmp_path / "map", "1", transform="xray") == names("im_gradcam_class-1")
    with pytest.raises(UsageError, match="unknown-transform"):
        explained(x_ray, str(bundle), tmp_path / "other", "1", transform="xrayy")
    assert not (tmp_path / "other").exists()


def test_a_patch_is_explained_by_a_network_that_attends_as_the_bag_it_is(tmp_path):
    definition = {
        "_target_": "medcam.models.mil.MIL",
        "encoder": network_def(in_channels=3),
        "attention_width": 4,
    }
    encoder = ResNet(**{name: value for name, value in network_def(in_channels=3).items() if name != "_target_"})
    network = MIL(set_to_brightness(encoder), 4)
    facts = card("histology_tumour", pooling="", layer="encoder.head.map", transform_options={"size": (64, 64)})
    save_bundle(tmp_path / "b", network, definition, facts, "For tests.", input_shape=(3, 1, 64, 64), modality="SM")
    pixels = np.full((64, 64, 3), 100, np.uint8)
    pixels[8:24, 40:56] = 250
    Image.fromarray(pixels).save(tmp_path / "patch.png")
    assert explained(tmp_path / "patch.png", str(tmp_path / "b"), tmp_path / "map") == names("patch_gradcam_tumour")
    facts = json.loads((tmp_path / "map" / "patch_gradcam_tumour.json").read_text())
    assert facts["layer"] == "encoder.head.map"
    evidence = nibabel.load(tmp_path / "map" / facts["evidence"]).get_fdata()
    assert evidence.size == 16 * 16  # of the one patch, in cells of 4 x 4
    hot = np.argwhere(evidence.reshape(16, 16) > evidence.max() / 2)
    assert np.abs(4 * hot.mean(0) - (15.5, 47.5)).max() <= 1  # cell i sits at pixel 4 i
