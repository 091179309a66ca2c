"""Weights of other libraries: what ours makes of them equals what theirs does."""

import math
import os
import pickle
import warnings
from pathlib import Path

import monai.networks.nets as nets
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medcam.errors import ModelError
from medcam.models._initial import initialise
from medcam.models._layouts import LAYOUTS
from medcam.models._network import build
from medcam.models._presets import preset
from medcam.models.densenet import DenseNet
from medcam.models.efficientnet import EfficientNet
from medcam.models.resnet import ResNet
from medcam.models.video import Video
from medcam.models.vit import ViT
from tests.models.frozen import FROZEN
from tests.models.weights import assert_same, digest, filled, image, layouts, network, shapes, with_head

SMALL = {"widths": (8, 16, 24, 32)}


def saved(state: dict[str, Tensor], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, file)
    else:
        torch.save(state, file)
    return file


def stirred(network: nn.Module) -> nn.Module:
    """In evaluation mode, with normalisations that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


@pytest.mark.parametrize(("name", "source"), FROZEN)
def test_the_features_are_those_of_torchvision_and_timm(name: str, source: str, tmp_path: Path) -> None:
    """Frozen from the libraries themselves: see test_initial_references.py."""
    names, logits = FROZEN[name, source]
    layout = layouts(name, source)[0]
    ours = network(name, layout)
    theirs = shapes(ours, layout)
    assert digest(theirs) == names
    state = filled(name, theirs)
    report = initialise(ours, saved(state, tmp_path / "weights.safetensors"))
    assert source in report.source
    assert report.adapted == ()
    assert report.missing == ("head.bias", "head.map.weight")
    assert set(report.unexpected) == {layout.renaming(ours, name) for name in report.missing}
    with torch.no_grad():
        assert_same(with_head(ours, layout, state)(image(name))[0], torch.tensor(logits))


def test_the_older_names_of_densenet_are_known(tmp_path: Path) -> None:
    newer, older = layouts("densenet121", "torchvision")
    ours, again = network("densenet121", newer), network("densenet121", newer)
    state = filled("densenet121", shapes(ours, newer))
    initialise(ours, saved(state, tmp_path / "new.pth"))
    state = {older.renaming(ours, name): state[newer.renaming(ours, name)] for name in ours.state_dict()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    initialise(again, saved(state, tmp_path / "old.pth"))
    for name, value in ours.state_dict().items():
        assert name.startswith("head") or torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_medicalnet_s_resnets_are_taken_over(tmp_path: Path, shortcut: str, bias: bool) -> None:
    """In 3-D, saved from several devices, without counters; ResNet-18 and 34 have shortcuts without weights."""
    torch.manual_seed(0)
    theirs = stirred(
        nets.ResNet(
            "basic", [1, 2, 1, 1], [8, 16, 24, 32], n_input_channels=1, conv1_t_stride=2, num_classes=3,
            shortcut_type=shortcut, bias_downsample=bias,
        )
    )  # fmt: skip
    state = {f"module.{name}": value for name, value in theirs.state_dict().items() if "num_batches" not in name}
    ours = ResNet(3, 1, 3, blocks=(1, 2, 1, 1), **SMALL).eval()
    report = initialise(ours, saved(state, tmp_path / "weights.pth"))
    assert ("monai" in report.source, len(report.adapted)) == (True, int(shortcut == "A"))
    assert set(report.unexpected) == {"fc.weight", "fc.bias"}
    x = torch.rand(1, 1, 32, 48, 64)
    with torch.no_grad():
        logits = nn.functional.linear(ours.embed(x), theirs.fc.weight, theirs.fc.bias)
        assert_same(logits, theirs(x))


def test_monai_s_bottleneck_resnet_is_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = stirred(nets.ResNet("bottleneck", [1, 1, 1, 1], [8, 16, 24, 32], 2, 3, conv1_t_stride=2, num_classes=3))
    ours = ResNet(2, 3, 3, blocks=(1, 1, 1, 1), bottleneck=True, **SMALL).eval()
    initialise(ours, saved(theirs.state_dict(), tmp_path / "weights.safetensors"), "monai")
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert_same(nn.functional.linear(ours.embed(x), theirs.fc.weight, theirs.fc.bias), theirs(x))


def test_monai_s_densenet_is_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = stirred(nets.DenseNet(3, 1, 2, 8, 4, (2, 3, 2)))
    ours = DenseNet(3, 1, 5, 8, 4, (2, 3, 2)).eval()
    report = initialise(ours, saved(theirs.state_dict(), tmp_path / "weights.pt"))
    assert (report.source, report.unexpected) == ("monai", ("class_layers.out.bias", "class_layers.out.weight"))
    x = torch.rand(1, 1, 32, 48, 64)
    with torch.no_grad():
        assert_same(theirs.class_layers.out(ours.embed(x)), theirs(x))


@pytest.mark.parametrize("axes", [2, 3])
def test_monai_s_efficientnet_is_taken_over(tmp_path: Path, axes: int) -> None:
    torch.manual_seed(0)
    theirs = stirred(nets.EfficientNetBN("efficientnet-b0", False, spatial_dims=axes, in_channels=1, num_classes=2))
    file = saved(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = EfficientNet(axes, 1, 2, norm_epsilon=1e-3, padding="tensorflow").eval()
    report = initialise(ours, file)
    assert (report.source, report.adapted) == ("monai", ())
    x = torch.rand(2, 1, *(64, 96, 64)[:axes])
    with torch.no_grad():
        assert_same(theirs._fc(ours.embed(x)), theirs(x))
    other = EfficientNet(axes, 1, 2)
    said = initialise(other, file).adapted
    assert len(said) == 2
    assert "norm_epsilon 0.001" in said[0]
    assert "tensorflow padding" in said[1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("axes", "pooling"), [(2, "cls"), (3, "cls"), (2, "mean")])
def test_monai_s_vision_transformer_is_taken_over(tmp_path: Path, axes: int, pooling: str, bias: bool) -> None:
    torch.manual_seed(0)
    theirs = nets.ViT(
        1, (32, 48, 32)[:axes], 8, 24, 48, 2, 3, classification=pooling == "cls", num_classes=3, qkv_bias=bias,
        spatial_dims=axes, post_activation="",
    ).eval()  # fmt: skip
    if pooling == "cls":
        nn.init.normal_(theirs.cls_token)
    ours = ViT(axes, 1, 3, (32, 48, 32)[:axes], 8, 24, 2, 3, 2.0, pooling, norm_epsilon=1e-5).eval()
    report = initialise(ours, saved(theirs.state_dict(), tmp_path / "weights.pth"))
    assert (report.source, len(report.adapted)) == ("monai", int(not bias))
    x = torch.rand(2, 1, *(32, 48, 32)[:axes])
    with torch.no_grad():
        wanted = theirs(x)[0]
        found = theirs.classification_head(ours.embed(x)) if pooling == "cls" else ours.embed(x)
        assert_same(found, wanted if pooling == "cls" else wanted.mean(1))


def test_a_stem_for_colour_sees_grey_as_it_saw_it_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    colour = stirred(ResNet(2, 3, 1, **SMALL))
    grey = ResNet(2, 1, 1, **SMALL).eval()
    report = initialise(grey, saved(colour.state_dict(), tmp_path / "colour.safetensors"))
    assert "3 channels were summed" in report.adapted[0]
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert_same(grey(x), colour(x.expand(-1, 3, -1, -1)))
        again = ResNet(2, 3, 1, **SMALL).eval()
        initialise(again, saved(grey.state_dict(), tmp_path / "grey.safetensors"))
        assert_same(again(x.expand(-1, 3, -1, -1)), grey(x))


def test_a_position_embedding_is_interpolated_to_the_size_of_the_images(tmp_path: Path) -> None:
    """A linear ramp of positions stays one, between the same ends of the field of view."""
    large = ViT(2, 1, 1, 64, 8, 6, 1, 1)
    with torch.no_grad():
        large.position.copy_((torch.arange(8.0) + 0.5).expand(1, 6, 8, 8))
    small = ViT(2, 1, 1, 32, 8, 6, 1, 1)
    report = initialise(small, saved(large.state_dict(), tmp_path / "weights.safetensors"))
    assert "8 x 8 was interpolated to 4 x 4" in report.adapted[0]
    torch.testing.assert_close(small.position[0, 0, 0], torch.tensor([1.0, 3.0, 5.0, 7.0]), rtol=0, atol=0.15)
    initialise(large, saved(small.state_dict(), tmp_path / "small.safetensors"))
    assert bool((large.position[0, 0, 0].diff() > 0).all())


def test_a_class_token_is_left_out_where_patches_are_averaged(tmp_path: Path) -> None:
    theirs = network("vit_b_16", layouts("vit_b_16", "timm")[0])
    state = filled("vit_b_16", shapes(theirs, layouts("vit_b_16", "timm")[0]))
    ours = network("vit_b_16", layouts("vit_b_16", "timm")[0], pooling="mean")
    report = initialise(ours, saved(state, tmp_path / "weights.pth"))
    assert report.unexpected == ("cls_token", "head.bias", "head.weight")
    wanted = state["pos_embed"][0, 1:].T.reshape(ours.position.shape)  # the first is the class token's
    torch.testing.assert_close(ours.position.detach(), wanted)


def test_own_weights_come_back_with_the_last_layer_where_it_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, same, other = stirred(ResNet(2, 1, 2, **SMALL)), ResNet(2, 1, 2, **SMALL).eval(), ResNet(2, 1, 3, **SMALL)
    file = saved(first.state_dict(), tmp_path / "model.safetensors")
    assert initialise(same, file).missing == ()
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(same(x), first(x), rtol=0, atol=0)
    before = other.head.map.weight.clone()
    report = initialise(other, file)
    assert (report.source, report.missing) == ("medcam", ("head.bias", "head.map.weight"))
    assert torch.equal(other.head.map.weight, before)
    assert torch.equal(other.stem[0].weight, first.stem[0].weight)


def test_a_network_of_frames_takes_weights_for_its_encoder(tmp_path: Path) -> None:
    encoder = ResNet(2, 1, 1, **SMALL)
    video = Video(ResNet(2, 1, 1, **SMALL), "attention")
    initialise(video, saved(encoder.state_dict(), tmp_path / "frame.safetensors"))
    assert torch.equal(video.encoder.stem[0].weight, encoder.stem[0].weight)
    again = Video(ResNet(2, 1, 1, **SMALL), "attention")
    assert initialise(again, saved(video.state_dict(), tmp_path / "video.safetensors")).missing == ()
    assert torch.equal(again.attention.gate.weight, video.attention.gate.weight)
    layout = layouts("vit_b_16", "torchvision")[0]  # there, too, names begin with "encoder."
    tokens = Video(network("vit_b_16", layout), "attention")
    state = filled("vit_b_16", shapes(tokens.encoder, layout))
    initialise(tokens, saved(state, tmp_path / "vit.pth"))
    torch.testing.assert_close(tokens.encoder.norm.weight.detach(), state["encoder.ln.weight"])


def test_a_checkpoint_in_half_precision_is_unpacked(tmp_path: Path) -> None:
    first, second = ResNet(2, 1, 1, **SMALL), ResNet(2, 1, 1, **SMALL)
    torch.save({"epoch": 3, "state_dict": first.half().state_dict()}, tmp_path / "last.ckpt")
    initialise(second, tmp_path / "last.ckpt")
    assert second.stem[0].weight.dtype == torch.float32
    assert torch.equal(second.stem[0].weight, first.stem[0].weight.float())


def refused(network: nn.Module, file: Path, source: str = "auto") -> ModelError:
    """The network is as it was."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        initialise(network, file, source)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    return caught.value


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_never_runs_code(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"fc.weight": Evil(tmp_path / "ran")}))
    assert refused(ResNet(**SMALL), tmp_path / "evil.pth").code == "initial-pickle"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this way of saving is not recommended
        torch.save(ResNet(**SMALL), tmp_path / "whole.pt")
    assert refused(ResNet(**SMALL), tmp_path / "whole.pt").code == "initial-pickle"
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    network = ResNet(**SMALL)
    torch.save(network.state_dict(), tmp_path / "weights.safetensors")
    assert refused(network, tmp_path / "weights.safetensors").code == "initial-pickle"
    (tmp_path / "damaged.pth").write_bytes(saved(network.state_dict(), tmp_path / "whole.pth").read_bytes()[:4000])
    assert refused(network, tmp_path / "damaged.pth").code == "initial-file"
    (tmp_path / "damaged.safetensors").write_bytes(
        saved(network.state_dict(), tmp_path / "whole.safetensors").read_bytes()[:4000]
    )
    assert refused(network, tmp_path / "damaged.safetensors").code == "initial-file"
    assert refused(network, tmp_path / "nothing.pth").code == "initial-file"
    torch.save([1, 2], tmp_path / "list.pth")
    assert refused(network, tmp_path / "list.pth").code == "initial-file"
    (tmp_path / "weights.h5").write_bytes(b"x")
    assert refused(network, tmp_path / "weights.h5").code == "initial-file"


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    """A deeper network holds all that a shallower one needs, in the same shapes; it is another network all the same."""
    deep, shallow = ResNet(blocks=(2, 2, 2, 2), **SMALL), ResNet(blocks=(1, 1, 1, 1), **SMALL)
    error = refused(shallow, saved(deep.state_dict(), tmp_path / "deep.pth"))
    assert error.code == "initial-layout"
    assert "stages.0.1.conv1.weight" in str(error)
    error = refused(deep, saved(shallow.state_dict(), tmp_path / "shallow.pth"))
    assert error.code == "initial-layout"
    assert "tensors are missing, first stages.0.1" in str(error)
    error = refused(deep, saved({"a": torch.zeros(1)}, tmp_path / "unknown.pth"))
    assert error.code == "initial-layout"
    wide = ResNet(blocks=(1, 1, 1, 1), widths=(8, 16, 24, 40))
    error = refused(shallow, saved(wide.state_dict(), tmp_path / "wide.pth"))
    assert error.code == "initial-shape"
    assert "(40, 24, 3, 3)" in str(error)
    flat, deep = ResNet(2, blocks=(1,), widths=(8,), strides=(1,)), ResNet(3, blocks=(1,), widths=(8,), strides=(1,))
    assert refused(deep, saved(flat.state_dict(), tmp_path / "flat.pth")).code == "initial-shape"
    assert refused(flat, tmp_path / "flat.pth", "torchvision").code == "initial-layout"
    assert (
        refused(build({"network_def": preset("mobilenet_v2")}), tmp_path / "flat.pth", "monai").code == "initial-layout"
    )
    assert refused(flat, tmp_path / "flat.pth", "keras").code == "initial-layout"


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = ResNet(**SMALL).state_dict()
    state["stages.2.0.conv1.weight"][0] = math.nan
    error = refused(ResNet(**SMALL), saved(state, tmp_path / "weights.pth"))
    assert (error.code, "stages.2.0.conv1.weight" in str(error)) == ("not-finite", True)


def test_every_layout_names_every_tensor_once() -> None:
    for name in ("resnet50", "densenet121", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small", "vit_small"):
        ours = build({"network_def": preset(name)})
        for layout in LAYOUTS[type(ours).__name__]:
            theirs = [layout.renaming(ours, one) for one in ours.state_dict()]
            assert len(set(theirs)) == len(theirs)
