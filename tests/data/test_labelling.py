import json
from pathlib import Path

import pytest

from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest
from medcam.errors import UsageError

LUNG = Labelling.parse("opacity", positive="Infiltration, Pneumonia ,Consolidation", negative="No Finding")
CLASSES = Labelling.parse("", classes="healthy; covid=covid19; pneumonia = bacterial_pneumonia + viral_pneumonia")
SEVERAL = Labelling.parse("", multilabel="Effusion, Mass,Nodule")


@pytest.mark.parametrize(
    ("labelling", "raw", "target"),
    [
        (LUNG, "Pneumonia", (1.0,)),
        (LUNG, "Effusion|Infiltration", (1.0,)),  # one of its values is enough
        (LUNG, " No Finding ", (0.0,)),
        (LUNG, "Effusion", None),
        (LUNG, "No Finding|Effusion", None),  # not all of its values say that nothing is there
        (LUNG, "pneumonia", None),  # as it is written
        (CLASSES, "healthy", (1.0, 0.0, 0.0)),
        (CLASSES, "viral_pneumonia", (0.0, 0.0, 1.0)),
        (CLASSES, "viral_pneumonia|bacterial_pneumonia", (0.0, 0.0, 1.0)),
        (CLASSES, "covid19|viral_pneumonia", None),  # of two classes
        (CLASSES, "unclear", None),
        (SEVERAL, "Mass|Effusion", (1.0, 1.0, 0.0)),
        (SEVERAL, "No Finding", (0.0, 0.0, 0.0)),
        (Labelling.parse("x"), "1", (1.0,)),
        (Labelling.parse("x"), "0.0", (0.0,)),
        (Labelling.parse("x"), "2", None),
    ],
)
def test_targets(labelling: Labelling, raw: str, target: tuple[float, ...] | None) -> None:
    assert labelling.target(raw) == target


def test_names_stand_in_the_order_of_the_outputs() -> None:
    assert (LUNG.names, LUNG.head) == (("opacity",), "single-logit")
    assert (CLASSES.names, CLASSES.head) == (("healthy", "covid", "pneumonia"), "softmax")
    assert (SEVERAL.names, SEVERAL.head) == (("Effusion", "Mass", "Nodule"), "sigmoid")


@pytest.mark.parametrize("labelling", [LUNG, CLASSES, SEVERAL])
def test_a_labelling_survives_json(labelling: Labelling) -> None:
    assert Labelling.from_dict(json.loads(json.dumps(labelling.to_dict()))) == labelling


@pytest.mark.parametrize(
    "options",
    [
        {"positive": "A"},
        {"negative": "A"},
        {"positive": "A", "negative": "A,B"},
        {"positive": "", "negative": "A"},
        {"positive": "A", "negative": "B", "classes": "A;B"},
        {"classes": "A;A"},
        {"classes": "a=X;b=X"},
        {"classes": "a=;b=X"},
        {"multilabel": ""},
        {"multilabel": "A,A"},
    ],
)
def test_contradictions_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        Labelling.parse("x", **options)
    assert caught.value.code == "bad-labelling"


def test_labels_that_no_row_has_are_refused_with_a_near_one() -> None:
    LUNG.check(["Infiltration|Effusion", "Pneumonia|Consolidation", "No Finding"])
    with pytest.raises(UsageError, match=r"No row has the label 'Consolidation'.*unknown-label"):
        LUNG.check(["Infiltration", "Pneumonia", "No Finding"])
    with pytest.raises(UsageError, match="Did you mean No finding"):
        LUNG.check(["Infiltration", "Pneumonia", "Consolidation", "No finding"])
    with pytest.raises(UsageError, match="label-not-0-1"):
        Labelling.parse("x").check(["0", "1", "covid19"])
    Labelling.parse("x").check(["0", "0"])


def test_real_labels(shared_data: Path) -> None:
    rows = Manifest.read(shared_data / "cxr_lowres320" / "manifest.csv").rows
    targets = [LUNG.target(row.label) for row in rows]
    assert (targets.count((1.0,)), targets.count((0.0,)), targets.count(None)) == (476, 65, 598)
    LUNG.check(row.label for row in rows)


def test_a_finding_of_several_may_have_several_raw_values() -> None:
    several = Labelling.parse("", multilabel="Mass, opacity=Infiltration + Pneumonia")
    assert several.names == ("Mass", "opacity")
    assert several.target("Pneumonia|Mass") == (1.0, 1.0)
    assert several.target("Infiltration") == (0.0, 1.0)
    assert several.target("No Finding") == (0.0, 0.0)
