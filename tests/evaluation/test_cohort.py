import json
from pathlib import Path

import pytest
import torch

from medcam.data.manifest import Manifest, Row
from medcam.data.splits import Split
from medcam.errors import UsageError
from medcam.evaluation.cohort import cohort
from medcam.models import Bundle
from tests.stand_ins import card


def manifest(sides: dict[str, str]) -> Manifest:
    """Two rows of each patient."""
    rows = [
        Row(2 * n + i + 2, Path(f"/{p}_{i}"), "1", p, f"{p}_{i}", side, {"file": f"{p}_{i}"})
        for n, (p, side) in enumerate(sides.items())
        for i in range(2)
    ]
    return Manifest(Path("/m.csv"), tuple(rows))


class Known(Bundle):
    """A bundle with a split, or without one."""

    def blob(self, name: str) -> bytes | None:
        return self.folder if name == "configs/split.json" else None


def knows(sides: dict[str, str] | None) -> Bundle:
    content = None if sides is None else json.dumps(Split(sides, 0, "hold-out").table("s").to_dict()).encode()
    return Known(torch.nn.Identity(), card("chest_xray_opacity"), content)


def patients(kept: Manifest) -> list[str]:
    return [row.patient_id for row in kept.rows]


def test_every_side_that_something_was_learned_from_is_left_out() -> None:
    known = knows({"a": "training", "b": "validation", "c": "calibration", "d": "test"})
    kept, told = cohort(manifest(dict.fromkeys("abcdx", "")), [known])
    assert patients(kept) == ["d", "d", "x", "x"]
    assert told.known_patients == {"training": 1, "validation": 1, "calibration": 1}
    assert (told.rows, told.patients, told.left_out) == (10, 5, 3)
    assert told.split == "hold-out"


def test_of_two_models_each_leaves_out_its_own() -> None:
    kept, _ = cohort(
        manifest(dict.fromkeys("abx", "")), [knows({"a": "training"}), knows({"b": "training", "a": "test"})]
    )
    assert patients(kept) == ["x", "x"]


def test_a_bundle_without_a_split_leaves_out_nobody_and_says_so() -> None:
    kept, told = cohort(manifest({"a": "", "b": ""}), [knows(None)])
    assert len(kept.rows) == 4
    assert told.split == ""


def test_sides_come_from_the_manifest_else_from_the_bundle() -> None:
    known = knows({"a": "training", "b": "test", "c": "test"})
    assert patients(cohort(manifest({"a": "test", "b": "Train", "c": "TEST"}), [known], "test")[0]) == ["c", "c"]
    assert patients(cohort(manifest({"a": "", "b": "", "x": ""}), [known], "test")[0]) == ["b", "b"]


@pytest.mark.parametrize(
    ("sides", "known", "side", "code"),
    [
        ({"a": ""}, {"a": "training"}, "", "patient-leak"),
        ({"a": "test"}, None, "exam", "bad-split"),
        ({"a": "train"}, None, "test", "bad-split"),
        ({"a": ""}, None, "test", "bad-split"),
    ],
)
def test_what_cannot_be_evaluated(sides, known, side, code) -> None:
    with pytest.raises(UsageError) as told:
        cohort(manifest(sides), [knows(known)], side)
    assert told.value.code == code
