"""Markdown of figures: tables whose cells cannot break them, numbers with their intervals."""

from collections.abc import Iterable, Sequence

from medcam.evaluation.bootstrap import Estimate

WARNING = "**Research use only. It decides nothing about a patient.**"

_WORDS = {"f1": "F1", "mcc": "MCC", "auroc": "AUROC"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    return "\n".join([_line(header), "|" + "---|" * len(header), *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(plain(str(cell)) for cell in cells) + " |"


def plain(text: str) -> str:
    """Words of a manifest that cannot end a cell or a line, or be taken for a tag."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def told(estimate: Estimate) -> str:
    """A figure with its interval."""
    if estimate.value is None:
        return "not defined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f} (no interval)"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def number(value: float | None) -> str:
    """A figure without an interval."""
    return "not defined" if value is None else f"{value:.3f}"


def words(name: str) -> str:
    """A figure as people call it."""
    return _WORDS.get(name, name.replace("_", " "))
