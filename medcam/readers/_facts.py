"""Header facts of very many files in little memory: names are shared between files, and so are equal values."""

from collections.abc import Iterator, Mapping
from typing import Any


class Facts(Mapping[str, Any]):
    """Read-only facts of one file; made by `Pool`."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: dict[str, int], values: tuple[Any, ...]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, name: str) -> Any:
        return self._values[self._places[name]]

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without the exception that theirs is made of: most of what is asked for is not there."""
        place = self._places.get(name)
        return default if place is None else self._values[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Facts of {len(self)} names"  # values can name the patient


class Pool:
    """Makes `Facts` that share what they can. Keep one for all files of a folder."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], dict[str, int]] = {}
        self._strings: dict[str, str] = {}

    def facts(self, plain: Mapping[str, Any]) -> Facts:
        """The same facts, compact."""
        names = tuple(plain)
        places = self._places.get(names)
        if places is None:
            places = self._places[names] = {name: position for position, name in enumerate(names)}
        strings = self._strings
        values = tuple([strings.setdefault(v, v) if type(v) is str else v for v in plain.values()])
        return Facts(places, values)
