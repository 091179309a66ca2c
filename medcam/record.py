"""Frozen records that go to JSON and back: plain dataclasses, arrays kept beside the JSON by dotted name."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


class Record:
    """A base for frozen dataclasses of plain values, tuples, mappings by string, arrays and other records."""

    def to_dict(self, arrays: Arrays | None = None, prefix: str = "") -> dict[str, Any]:
        """JSON-ready values. Arrays move into `arrays` under their dotted names, or become nested lists without it."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {f.name: _plain(getattr(self, f.name), arrays, f"{prefix}{f.name}") for f in fields}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> Self:
        """The record that `to_dict` described; unknown keys are ignored."""
        hints = typing.get_type_hints(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # every subclass is a dataclass
        return cls(**{f.name: _typed(data[f.name], hints[f.name], arrays or {}) for f in fields if f.name in data})


def _plain(value: Any, arrays: Arrays | None, name: str) -> Any:
    if isinstance(value, Record):
        return value.to_dict(arrays, f"{name}.")
    if isinstance(value, np.ndarray):
        if arrays is None:
            return value.tolist()
        arrays[name] = value
        return {"array": name}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, arrays, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, arrays, f"{name}.{position}") for position, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _typed(value: Any, hint: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None or hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _typed(value, inner, arrays)
    if origin is tuple:
        inners = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        return tuple(_typed(item, inner, arrays) for item, inner in zip(value, inners, strict=True))
    if origin is np.ndarray or hint is np.ndarray:
        return arrays[value["array"]] if isinstance(value, Mapping) else np.asarray(value)
    if origin is not None and issubclass_safe(origin, Mapping):
        return {key: _typed(item, arguments[1], arrays) for key, item in value.items()}
    if issubclass_safe(hint, Record):
        return hint.from_dict(value, arrays)
    return float(value) if hint is float else value


def issubclass_safe(candidate: Any, parent: type) -> bool:
    """`issubclass` that answers False for what is not a class, such as a `Literal`."""
    return isinstance(candidate, type) and issubclass(candidate, parent)
