"""Records go to JSON and come back as they were, whatever they are made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from medcam.record import Record


@dataclass(frozen=True)
class Leaf(Record):
    name: str
    size_mm: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Tree(Record):
    leaves: tuple[Leaf, ...]
    pair: tuple[int, str]
    by_name: Mapping[str, Leaf]
    maybe: Leaf | None
    window: tuple[float, float] | None
    map: npt.NDArray[np.float32]
    codes: Mapping[str, tuple[str, str]]
    nothing: float | None = None


def tree():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Tree(
        (Leaf("x", 1.0), Leaf("y", 2.5, "b")),
        (3, "z"),
        {"p": Leaf("p", 0.1)},
        Leaf("m", 7.0),
        (40.0, 400.0),
        values,
        {"site": ("1", "SCT")},
    )


def test_arrays_beside_the_json():
    arrays = {}
    text = json.dumps(tree().to_dict(arrays))
    assert list(arrays) == ["map"]
    assert "0.0, 1.0, 2.0" not in text
    back = Tree.from_dict(json.loads(text), arrays)
    assert back.map.dtype == np.float32
    assert np.array_equal(back.map, tree().map)
    for field in ("leaves", "pair", "by_name", "maybe", "window", "codes", "nothing"):
        assert getattr(back, field) == getattr(tree(), field), field
    assert isinstance(back.leaves[1], Leaf)
    assert isinstance(back.codes["site"], tuple)


def test_arrays_in_the_json():
    back = Tree.from_dict(json.loads(json.dumps(tree().to_dict())))
    assert np.array_equal(back.map, tree().map)


def test_dotted_names_keep_nested_arrays_apart():
    @dataclass(frozen=True)
    class Two(Record):
        first: Tree
        rest: tuple[Tree, ...]

    arrays = {}
    data = Two(tree(), (tree(), tree())).to_dict(arrays)
    assert sorted(arrays) == ["first.map", "rest.0.map", "rest.1.map"]
    assert data["rest"][1]["map"] == {"array": "rest.1.map"}


def test_numbers_of_numpy_become_plain_and_whole_numbers_become_the_float_that_is_declared():
    assert json.dumps(Leaf("x", np.float64(1.5)).to_dict()) == '{"name": "x", "size_mm": 1.5, "kind": "a"}'
    back = Leaf.from_dict({"name": "x", "size_mm": 3})
    assert isinstance(back.size_mm, float)


def test_a_newer_versions_keys_are_ignored_and_missing_ones_are_an_error():
    assert Leaf.from_dict({"name": "x", "size_mm": 1.0, "colour": "red"}) == Leaf("x", 1.0)
    with pytest.raises(TypeError):
        Leaf.from_dict({"name": "x"})
