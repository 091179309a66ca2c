"""A shelf lists files without importing them, imports one by name, and helps those who mistype."""

import sys

import pytest

from medcam.errors import UsageError
from medcam.plugins import Shelf, locate


def shelf(folder):
    return Shelf("colour", folder, None)


def test_a_file_is_a_member_and_helpers_are_not(tmp_path):
    for name in ("deep_red", "_mix", "base", "__init__"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    assert shelf(tmp_path).names() == ["deep_red"]


def test_the_member_is_what_is_named_after_the_file(tmp_path):
    (tmp_path / "deep_red.py").write_text("def helper():\n    return 0\nclass DeepRed:\n    value = 7\n")
    member = shelf(tmp_path).load("deep_red")
    assert member.value == 7
    sys.modules.pop("medcam_colour_deep_red")


def test_a_mistyped_name_is_answered_with_near_ones(tmp_path):
    (tmp_path / "gradcam.py").write_text("")
    with pytest.raises(UsageError, match="Did you mean gradcam") as caught:
        shelf(tmp_path).load("grad_cam")
    assert caught.value.code == "unknown-colour"


def test_a_file_without_its_member_is_an_error(tmp_path):
    (tmp_path / "blue.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match="nothing named after its file"):
        shelf(tmp_path).load("blue")
    sys.modules.pop("medcam_colour_blue")


def test_the_four_pipelines_are_found():
    from medcam.pipeline import shelf as pipelines

    names = pipelines().names()
    assert {"chest_xray_opacity", "chest_ct_nodule", "lung_ultrasound", "histology_tumour"} <= set(names)
    digests = {pipelines().load(name).digest() for name in names}
    assert len(digests) == len(names)
    assert locate("pipelines").is_dir()
