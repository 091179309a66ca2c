"""What the label cells of a manifest mean to a model: one finding, one of several classes, or several findings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from medcam.errors import UsageError
from medcam.plugins import near
from medcam.record import Record

Head = Literal["single-logit", "sigmoid", "softmax"]

BETWEEN = "|"
"""Separates the values of one label cell."""

ONE, ZERO = ("1", "1.0"), ("0", "0.0")


@dataclass(frozen=True)
class Labelling(Record):
    """From a raw label to a target.

    A cell may hold several values, separated by "|". They are compared as they are written, without spaces around them.
    """

    names: tuple[str, ...]
    """What the model's outputs mean, in their order."""
    head: Head
    members: Mapping[str, tuple[str, ...]]
    """For each name the raw values that mean it."""
    negative: tuple[str, ...] = ()
    """Of a single-logit head: the raw values that mean its absence."""

    def __post_init__(self) -> None:
        twice = [name for name in self.names if self.names.count(name) > 1]
        if not self.names or twice or set(self.names) != set(self.members) or not all(self.members.values()):
            raise UsageError("bad-labelling", "Each label needs one name and at least one raw value.")
        if self.head == "single-logit" and (len(self.names) != 1 or not self.negative):
            raise UsageError("bad-labelling", "One finding needs one name and the raw values that mean its absence.")
        owners = [*self.members.values(), self.negative] if self.head != "sigmoid" else []
        values = [value for owner in owners for value in set(owner)]
        shared = sorted({value for value in values if values.count(value) > 1})
        if shared:
            raise UsageError("bad-labelling", f"{', '.join(shared)}: a raw value can mean one thing only.")

    @classmethod
    def binary(cls, name: str, positive: Sequence[str], negative: Sequence[str]) -> Self:
        """One finding: there if any value is in `positive`, absent if all are in `negative`, else left out."""
        return cls((name,), "single-logit", {name: tuple(positive)}, tuple(negative))

    @classmethod
    def classes(cls, members: Mapping[str, Sequence[str]]) -> Self:
        """One of several classes; a row whose values mean none or more than one of them is left out."""
        return cls(tuple(members), "softmax", {name: tuple(values) for name, values in members.items()})

    @classmethod
    def multilabel(cls, members: Sequence[str] | Mapping[str, Sequence[str]]) -> Self:
        """Findings that do not exclude each other; a row without any of them is negative for all."""
        if not isinstance(members, Mapping):
            members = {name: (name,) for name in members}
        return cls(tuple(members), "sigmoid", {name: tuple(values) for name, values in members.items()})

    @classmethod
    def parse(
        cls,
        name: str,
        *,
        positive: str | None = None,
        negative: str | None = None,
        classes: str | None = None,
        multilabel: str | None = None,
    ) -> Self:
        """From the words of the command line.

        Args:
            name: of the finding, where there is only one.
            positive, negative: "Infiltration, Pneumonia" against "No Finding".
            classes: "healthy; covid=covid19; pneumonia=bacterial_pneumonia+viral_pneumonia".
            multilabel: "Mass, opacity=Infiltration+Pneumonia". With none of these, labels must be 0 or 1.

        Raises:
            UsageError: "bad-labelling".
        """
        if sum(option is not None for option in (positive or negative, classes, multilabel)) > 1:
            raise UsageError("bad-labelling", "Say --positive and --negative, or --classes, or --multilabel: only one.")
        if classes is not None:
            return cls.classes(_groups(classes, ";", "--classes names a class"))
        if multilabel is not None:
            return cls.multilabel(_groups(multilabel, ",", "--multilabel names a finding"))
        if positive is None and negative is None:
            return cls.binary(name, ONE, ZERO)
        if positive is None or negative is None:
            raise UsageError("bad-labelling", "--positive and --negative go together: say what both are called.")
        return cls.binary(name, _words(positive, ","), _words(negative, ","))

    def target(self, raw: str) -> tuple[float, ...] | None:
        """(K,) numbers in the order of `names`; None if the row is left out because its label is in no group."""
        values = set(_words(raw, BETWEEN))
        found = tuple(float(not values.isdisjoint(self.members[name])) for name in self.names)
        if self.head == "single-logit":
            return found if found[0] or values <= set(self.negative) else None
        return found if self.head == "sigmoid" or sum(found) == 1 else None

    def check(self, labels: Iterable[str]) -> None:
        """Refuse a labelling that does not fit the labels of a manifest to train on.

        Raises:
            UsageError: "unknown-label", it names a raw value that no row has; "label-not-0-1", nothing was said about
                labels that are no 0 or 1.
        """
        cells = list(labels)
        present = sorted({value for cell in cells for value in _words(cell, BETWEEN)})
        if self.negative == ZERO:
            other = [value for value in present if value not in ONE + ZERO]
            if other:
                message = f"Labels are {', '.join(other[:5])}, not 0 or 1; say --positive and --negative, or --classes."
                raise UsageError("label-not-0-1", message)
            return
        for value in [*(value for name in self.names for value in self.members[name]), *self.negative]:
            if value not in present:
                raise UsageError("unknown-label", f"No row has the label {value!r}. {near(value, present)}")


def _words(text: str, sign: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(sign)) if word)


def _groups(text: str, between: str, what: str) -> dict[str, tuple[str, ...]]:
    """The raw values of each name; of "covid=a+b" a and b, of a name alone that name."""
    pairs = [part.partition("=") for part in _words(text, between)]
    names = [left.strip() for left, _, _ in pairs]
    if len(set(names)) < len(names):
        raise UsageError("bad-labelling", f"{what} twice.")
    return {left.strip(): _words(right if sign else left, "+") for left, sign, right in pairs}
