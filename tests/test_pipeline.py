"""The pipelines as they ship, and what their hash depends on."""

import re
from dataclasses import fields, replace

import pytest

from medcam.explainers import SHELF as EXPLAINERS
from medcam.pipeline import Pipeline, shelf
from medcam.plugins import locate
from medcam.transforms import SHELF as TRANSFORMS
from medcam.uncertainty import SHELF as DISTURBANCES

NAMES = ("chest_ct_nodule", "chest_xray_opacity", "histology_tumour", "lung_ultrasound")


def test_four_questions_ship():
    assert shelf().names() == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_names_members_that_are_there(name):
    pipeline = shelf().load(name)
    assert pipeline.transform in TRANSFORMS.names()
    assert pipeline.explainer in EXPLAINERS.names()
    assert pipeline.uncertainty in DISTURBANCES.names()
    assert pipeline.question.endswith("?")
    assert "decides nothing about a patient" in pipeline.limits
    assert {"finding", "site"} <= set(pipeline.codes)
    for value, scheme, meaning in pipeline.codes.values():
        assert scheme in ("SCT", "99MEDCAM")
        assert value.isdigit() == (scheme == "SCT")  # no SNOMED number is made up
        assert len(value) <= 16 or scheme == "99MEDCAM"
        assert meaning


@pytest.mark.parametrize("name", NAMES)
def test_a_pipelines_file_is_a_docstring_and_one_declaration(name):
    text = (locate("pipelines") / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 60
    assert text.startswith('"""')
    assert len(re.findall(r"^PIPELINE = Pipeline\(", text, re.M)) == 1
    assert re.findall(r"^(?:import|from) (.*)", text, re.M) == ["medcam.pipeline import Accepts, Pipeline"]


def test_the_hash_changes_with_every_part_of_the_question_and_the_models_settings():
    pipeline = shelf().load("chest_ct_nodule")
    assert pipeline.digest() == Pipeline.from_dict(pipeline.to_dict()).digest()
    changed = [
        replace(pipeline, **{field.name: 0.25 if field.name == "region_fraction" else f"other {field.name}"})
        for field in fields(Pipeline)
        if field.name not in ("accepts", "codes")
    ]
    changed.append(replace(pipeline, codes={}))
    changed.append(replace(pipeline, accepts=replace(pipeline.accepts, least_slices=21)))
    digests = {one.digest() for one in [pipeline, *changed]} | {pipeline.digest("other threshold")}
    assert len(digests) == len(changed) + 2
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
