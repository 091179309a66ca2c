"""What the words of an option mean."""

from typing import Any

from medcam.errors import UsageError
from medcam.plugins import near


def pairs(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    """Both sides of each NAME=VALUE; `form` tells the user what they are called."""
    found = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not value:
            raise UsageError(f"bad-{option.strip('-')}", f"{option} takes {form}, not {text!r}.")
        found[name] = value
    return found


def one_of(option: str, word: str, known: dict[str, str]) -> Any:
    """What a word means that is one of a few."""
    if word not in known:
        raise UsageError("bad-option", f"{option} does not know {word!r}. {near(word, list(known))}")
    return known[word]


def gamma_of(loss: str, gamma: float | None) -> float:
    """Of the focal loss, which without it is cross-entropy."""
    if one_of("--loss", loss, {"focal": "focal", "cross-entropy": "cross-entropy"}) == "focal":
        return 1.0 if gamma is None else gamma
    if gamma is not None:
        raise UsageError("bad-option", "--gamma belongs to --loss focal; leave one of them out.")
    return 0.0


def size_of(text: str | None) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    try:
        return tuple(int(part) for part in text.split("x")) if text else ()
    except ValueError:
        raise UsageError("bad-size", f"--size takes numbers like 160 or 160x192, not {text!r}.") from None
