"""The folder is the registry: a shelf lists its member files without importing them, and imports one by name."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from medcam.errors import UsageError

T = TypeVar("T")

MOST_NAMES = 60
"""That a message lists; a network may have a thousand."""


def locate(name: str) -> Path:
    """The folder of `pipelines`, `apps` or `sample_data`: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_bundled" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise UsageError(
        "not-installed", f"The folder {name!r} is not part of this installation; install medcam-toolkit again."
    )


def near(name: str, known: list[str]) -> str:
    """A sentence that helps somebody who mistyped `name`: the nearest known names, else all of them."""
    close = difflib.get_close_matches(name, known, n=3)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    more = f" and {len(known) - MOST_NAMES} more" if len(known) > MOST_NAMES else ""
    return f"Known: {', '.join(known[:MOST_NAMES]) or 'none'}{more}."


class Shelf(Generic[T]):
    """Members of one kind, one file each.

    Args:
        kind: what a member is called in messages, e.g. "explainer".
        folder: where the member files lie; `base.py` and names that begin with `_` are not members.
        package: the dotted name to import members from, or None for plain files outside a package.
        pick: from an imported module and the member's name to the member; by default the attribute that has
            the file's name, whatever its case and underscores (gradcam.py -> GradCAM).

    Members of other distributions come by the entry point group `medcam.<kind>s`.
    """

    def __init__(
        self, kind: str, folder: Path, package: str | None, pick: Callable[[ModuleType, str], T] | None = None
    ) -> None:
        self.kind = kind
        self._folder = folder
        self._package = package
        self._pick = pick or named_after_file

    def names(self) -> list[str]:
        """All members' names, sorted; nothing is imported."""
        return sorted(self._own() | {point.name for point in entry_points(group=f"medcam.{self.kind}s")})

    def load(self, name: str) -> T:
        """Import one member.

        Raises:
            UsageError: there is no member of that name; the message suggests near ones.
        """
        if name in self._own():  # others' members are looked for only if need be: it takes 40 ms
            return self._pick(self._module(name), name)
        if name not in self.names():
            raise UsageError(f"unknown-{self.kind}", f"There is no {self.kind} {name!r}. {near(name, self.names())}")
        (point,) = entry_points(group=f"medcam.{self.kind}s", name=name)
        member: T = point.load()
        return member

    def _own(self) -> set[str]:
        return {
            path.stem for path in self._folder.glob("*.py") if not path.stem.startswith("_") and path.stem != "base"
        }

    def _module(self, name: str) -> ModuleType:
        if self._package is not None:
            return importlib.import_module(f"{self._package}.{name}")
        qualified = f"medcam_{self.kind}_{name}"
        if qualified not in sys.modules:
            spec = importlib.util.spec_from_file_location(qualified, self._folder / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[qualified] = module
        return sys.modules[qualified]


def named_after_file(module: ModuleType, name: str) -> T:  # type: ignore[type-var]  # the caller's shelf says which T
    """The module's attribute that has the file's name, whatever its case and underscores."""
    wanted = name.replace("_", "").lower()
    for attribute, value in vars(module).items():
        if (
            attribute.replace("_", "").lower() == wanted
            and not attribute.startswith("_")
            and not isinstance(value, ModuleType)
        ):
            member: T = value
            return member
    raise UsageError("empty-member", f"{module.__name__} defines nothing named after its file.")
