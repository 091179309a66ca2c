import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medcam.errors import ModelError, ResultsError
from medcam.models import Card, load_bundle, load_model, save_bundle, settings_digest
from medcam.models._network import build

NETWORK = {
    "_target_": "medcam.models.resnet.ResNet",
    "widths": [4, 8],
    "blocks": [1, 1],
    "strides": [1, 2],
    "stem_pool": False,
}
CARD = Card(
    name="toy",
    version="1.0",
    pipeline="chest_xray_opacity",
    labels=("opacity",),
    head="single-logit",
    threshold=0.25,
    threshold_origin="chosen by hand",
    transform="xray",
    transform_options={"size": [64, 64]},
    trained_on="nothing",
    demonstration=True,
)


def made(
    folder: Path,
    half: bool = False,
    card: Card = CARD,
    blobs: dict[str, bytes] | None = None,
    **network: object,
) -> torch.nn.Module:
    torch.manual_seed(0)
    definition = NETWORK | network
    model = build({"network_def": definition}).eval()
    save_bundle(
        folder, model, definition, card, "# Toy\n", input_shape=(1, 64, 64), modality="DX", half=half, blobs=blobs
    )
    return model


def refused(folder: Path, **options: bool) -> str:
    with pytest.raises(ModelError) as caught:
        load_bundle(folder, **options)
    assert len(str(caught.value)) > 30
    return caught.value.code


def edit(path: Path, **changes: object) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | changes))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = made(tmp_path / "b")
    bundle = load_bundle(tmp_path / "b")
    image = torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(bundle.model(image), model(image), rtol=0, atol=0)
    assert not bundle.model.training
    assert bundle.card.transform_options == {"size": [64, 64]}
    assert (bundle.card.threshold, bundle.card.labels, bundle.card.demonstration) == (0.25, ("opacity",), True)
    assert (bundle.folder / "docs/README.md").read_text() == "# Toy\n"


def test_monai_s_own_parser_builds_the_same_network_from_the_same_files(tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    model = made(tmp_path / "b")
    parser = ConfigParser(ConfigParser.load_config_files(str(tmp_path / "b/configs/inference.json")))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_file(tmp_path / "b/models/model.safetensors"))
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(network.eval()(image), model(image), rtol=0, atol=0)
    keys = set(json.loads((tmp_path / "b/configs/metadata.json").read_text()))
    assert keys > {"schema", "version", "monai_version", "pytorch_version", "network_data_format", "task", "authors"}


def test_sixteen_bits_halve_the_file_and_hardly_move_the_score(tmp_path: Path) -> None:
    model = made(tmp_path / "full")
    made(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "models/model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    image = torch.rand(1, 1, 64, 64)
    bundle = load_bundle(tmp_path / "half")
    torch.testing.assert_close(bundle.model(image), model(image), rtol=2e-2, atol=2e-2)
    assert {p.dtype for p in bundle.model.parameters()} == {torch.float32}


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    weights = tmp_path / "models/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert refused(tmp_path) == "bundle-hash"


BLOBS = {"configs/calibration.json": b'{"scale": 1.5}', "models/support.safetensors": bytes(range(256))}


def test_blobs_come_back_byte_for_byte_and_others_are_none(tmp_path: Path) -> None:
    made(tmp_path / "b", blobs=BLOBS)
    bundle = load_bundle(tmp_path / "b")
    assert {name: bundle.blob(name) for name in BLOBS} == BLOBS
    (tmp_path / "b/configs/conformal.json").write_text("{}")  # laid beside them later: not part of the bundle
    assert load_bundle(tmp_path / "b").blob("configs/conformal.json") is None
    plain = settings_digest(tmp_path / "b")
    made(tmp_path / "b", blobs=BLOBS | {"configs/calibration.json": b"{}"})
    assert settings_digest(tmp_path / "b") != plain  # another calibration is another answer
    made(tmp_path / "b")
    assert load_bundle(tmp_path / "b").blob("configs/calibration.json") is None


def test_a_changed_or_missing_blob_is_refused(tmp_path: Path) -> None:
    made(tmp_path, blobs=BLOBS)
    bundle = load_bundle(tmp_path)
    (tmp_path / "configs/calibration.json").write_text('{"scale": 2.5}')
    assert refused(tmp_path) == "bundle-hash"
    with pytest.raises(ModelError, match="bundle-hash"):
        bundle.blob("configs/calibration.json")
    (tmp_path / "configs/calibration.json").unlink()
    assert refused(tmp_path) == "bundle-missing"


@pytest.mark.parametrize(
    "name",
    ["../outside.json", "/etc/passwd", "configs/../../x.json", "configs/metadata.json", "x.json", "models/a b.c"],
)
def test_a_blob_never_leaves_the_folder_nor_replaces_a_file_of_the_bundle(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="blob-name"):
        made(tmp_path / "b", blobs={name: b"x"})
    assert not (tmp_path / "b").exists()


def test_a_card_that_names_a_file_outside_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "b", blobs=BLOBS)
    metadata = json.loads((tmp_path / "b/configs/metadata.json").read_text())
    (tmp_path / "outside.json").write_text("{}")
    stated = metadata["medcam"] | {"blobs_sha256": {"../outside.json": hashlib.sha256(b"{}").hexdigest()}}
    edit(tmp_path / "b/configs/metadata.json", medcam=stated)
    assert refused(tmp_path / "b") == "bundle-config"
    edit(tmp_path / "b/configs/metadata.json", medcam=metadata["medcam"] | {"blobs_sha256": ["configs/split.json"]})
    assert refused(tmp_path / "b") == "bundle-config"


@pytest.mark.parametrize("missing", ["configs/metadata.json", "configs/inference.json", "models/model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    made(tmp_path)
    (tmp_path / missing).unlink()
    assert refused(tmp_path) == "bundle-missing"


def test_a_pickle_is_refused_under_either_name(tmp_path: Path) -> None:
    model = made(tmp_path, card=CARD)
    weights = tmp_path / "models/model.safetensors"
    weights.unlink()
    torch.save(model.state_dict(), tmp_path / "models/model.pt")
    assert refused(tmp_path) == "bundle-pickle"
    assert load_bundle(tmp_path, trust_code=True).sha256
    (tmp_path / "models/model.pt").rename(weights)
    edit(tmp_path / "configs/metadata.json", medcam=CARD.to_dict())  # no hash stated
    assert refused(tmp_path) == "bundle-pickle"


MARK = "$__import__('pathlib').Path('{path}').touch()"


@pytest.mark.parametrize("where", ["top", "argument", "nested", "list", "key"])
def test_a_configuration_that_would_run_code_never_does(tmp_path: Path, where: str) -> None:
    made(tmp_path)
    ran = tmp_path / "ran"
    evil = MARK.format(path=ran)
    network = dict(NETWORK)
    changes = {
        "top": {"initialize": evil},
        "argument": {"network_def": network | {"dropout": evil}},
        "nested": {"network_def": network | {"stem_pool": {"a": {"b": evil}}}},
        "list": {"network_def": network | {"widths": [4, evil]}},
        "key": {"network_def": network | {"_requires_": evil}},
    }
    edit(tmp_path / "configs/inference.json", **changes[where])
    assert refused(tmp_path) == "bundle-code"
    assert not ran.exists()


def test_with_trust_monai_s_parser_may_evaluate_it(tmp_path: Path) -> None:
    model = made(tmp_path)
    edit(tmp_path / "configs/inference.json", network_def=NETWORK | {"widths": "$[2 * 2, 4 + 4]"})
    assert refused(tmp_path) == "bundle-code"
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(load_bundle(tmp_path, trust_code=True).model(image), model(image))


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "medcam.models.resnet.torch.hub.load",
        "medcam.models._bundle.load_model",
        "medcam.models.resnet.nn.Identity",
        "medcam.models.load_model",
        "monai.networks.nets.resnet.torch.load",
        "monai.networks.nets.resnet.get_pretrained_resnet_medicalnet",
        "monai.bundle.scripts.download",
        "monai.networks.netsx.Evil",
        "ResNet",
        "",
    ],
)
def test_only_networks_that_medcam_and_monai_define_are_built(target: str) -> None:
    with pytest.raises(ModelError) as caught:
        build({"network_def": {"_target_": target}})
    assert caught.value.code in ("bundle-code", "bundle-config")


def test_monai_s_networks_are_built_and_never_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", never)
    monkeypatch.setattr("monai.networks.nets.densenet.load_state_dict_from_url", never)
    monkeypatch.setattr("monai.networks.nets.efficientnet.model_zoo.load_url", never)
    for target, arguments in (
        (
            "monai.networks.nets.DenseNet121",
            {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "pretrained": True},
        ),
        ("monai.networks.nets.EfficientNetBN", {"model_name": "efficientnet-b0", "in_channels": 3, "num_classes": 2}),
    ):
        network = build({"network_def": {"_target_": target, **arguments}}).eval()
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2)


def test_a_nested_network_is_built(tmp_path: Path) -> None:
    video = build({"network_def": {"_target_": "medcam.models.video.Video", "encoder": NETWORK, "pooling": "mean"}})
    assert video(torch.rand(1, 1, 3, 32, 32)).shape == (1, 1)


@pytest.mark.parametrize(
    "broken",
    [{"network_def": NETWORK | {"width": 3}}, {"network_def": 3}, {"network_def": NETWORK | {"widths": [4, 6]}}],
)
def test_a_definition_that_does_not_fit_is_refused(tmp_path: Path, broken: dict[str, object]) -> None:
    made(tmp_path)
    edit(tmp_path / "configs/inference.json", **broken)
    assert refused(tmp_path) == "bundle-config"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "1"}', '{"medcam": {"name": "toy"}}', '{"medcam": 3}'])
def test_damaged_metadata_is_refused(tmp_path: Path, text: str) -> None:
    made(tmp_path)
    (tmp_path / "configs/metadata.json").write_text(text)
    assert refused(tmp_path) == "bundle-config"


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    metadata = json.loads((tmp_path / "configs/metadata.json").read_text())
    for change in ({"labels": []}, {"labels": ["a", "b"]}, {"head": "sigmoid"}):
        edit(tmp_path / "configs/metadata.json", medcam=metadata["medcam"] | change)
        assert refused(tmp_path) == "bundle-labels"


def test_a_failed_save_leaves_the_old_bundle(tmp_path: Path) -> None:
    model = made(tmp_path / "b")
    with pytest.raises(ModelError):
        save_bundle(
            tmp_path / "b", model, NETWORK | {"widths": [8, 8]}, CARD, "", input_shape=(1, 64, 64), modality="DX"
        )
    assert load_bundle(tmp_path / "b").card.name == "toy"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_full_disk_leaves_the_old_bundle(tmp_path: Path) -> None:
    made(tmp_path / "b", blobs=BLOBS)
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # no file grows beyond it, as on a full disk
        with pytest.raises(ResultsError, match="disk-full"):
            made(tmp_path / "b", card=replace(CARD, name="new"), blobs={"configs/split.json": bytes(9000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    bundle = load_bundle(tmp_path / "b")
    assert (bundle.card.name, bundle.blob("configs/calibration.json")) == ("toy", BLOBS["configs/calibration.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


SAVING = """
import itertools, sys
from pathlib import Path
from tests.models.test_bundle import CARD, made, replace
for number in itertools.count(1):
    made(Path(sys.argv[1]), card=replace(CARD, name=str(number)), blobs={"configs/split.json": b"%d" % number})
    print(number, flush=True)
"""


def test_a_killed_save_leaves_the_old_bundle_or_the_new_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVING, str(tmp_path / "b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.013)  # about the middle of the next
        process.kill()
    bundle = load_bundle(tmp_path / "b")
    assert int(bundle.card.name) >= 3
    assert bundle.blob("configs/split.json") == bundle.card.name.encode()
    made(tmp_path / "b")  # what was left half done is in nobody's way
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_that_stepped_aside_for_a_killed_process_comes_back(tmp_path: Path) -> None:
    made(tmp_path / "b")
    shutil.move(tmp_path / "b", tmp_path / ".b.previous")
    assert load_bundle(tmp_path / "b").card.name == "toy"
    shutil.move(tmp_path / "b", tmp_path / ".b.previous")
    assert load_model(str(tmp_path / "b"))(torch.zeros(1, 1, 64, 64)).shape == (1, 1)


@pytest.mark.parametrize(
    ("head", "labels"), [("single-logit", ("a",)), ("sigmoid", ("a", "b")), ("softmax", ("a", "b", "c"))]
)
def test_the_score_follows_the_head(tmp_path: Path, head: str, labels: tuple[str, ...]) -> None:
    made(tmp_path, card=replace(CARD, head=head, labels=labels), out_channels=len(labels))
    bundle = load_bundle(tmp_path)
    output = torch.tensor([[0.3, -1.2, 2.0]])[:, : len(labels)]
    scores = output.softmax(1) if head == "softmax" else output.sigmoid()
    for label in range(len(labels)):
        prediction = bundle.prediction(output, label)
        assert prediction.score == pytest.approx(scores[0, label].item())
        assert prediction.score == pytest.approx(1 / (1 + 2.718281828**-prediction.logit))
        assert prediction.finding == labels[label]
    with pytest.raises(ModelError) as caught:
        bundle.prediction(torch.zeros(1, 5))
    assert caught.value.code == "bundle-labels"
    with pytest.raises(ModelError) as caught:
        bundle.prediction(output * torch.nan)
    assert caught.value.code == "not-finite"


def test_tiles_are_pooled_as_the_card_says(tmp_path: Path) -> None:
    made(tmp_path, card=replace(CARD, pooling="max"))
    prediction = load_bundle(tmp_path).prediction(torch.tensor([[-3.0], [1.0], [0.0]]))
    assert prediction.logit == 1.0
    assert prediction.part_scores == pytest.approx([0.0474, 0.7311, 0.5], abs=1e-4)
    assert prediction.pooling == "max"


def test_a_model_comes_from_a_folder_or_a_factory(tmp_path: Path) -> None:
    model = made(tmp_path)
    image = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(load_model(str(tmp_path))(image), model(image))
    assert not load_model("medcam.models.densenet:DenseNet").training
    for spec in ("nowhere.at_all:thing", "medcam.models.densenet:Nothing", "builtins:dict"):
        with pytest.raises(ModelError) as caught:
            load_model(spec)
        assert caught.value.code == "model-factory"
    with pytest.raises(ModelError) as caught:
        load_model(str(tmp_path / "nothing"))
    assert caught.value.code == "bundle-missing"
