"""methods.md and the explainers' rows of the README: what each method on the shelf declares, and its measured cost.

python -m docs.explainers.methods_page
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from medcam.explainers import SHELF
from medcam.explainers._cost import few
from medcam.explainers.base import Family, InputMethod, Method

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explainers" / "methods.md"
README = ROOT / "README.md"
COSTS = ROOT / "docs" / "results" / "explainers.md"
BEGIN, END = "| explains | what it is |\n|---|---|\n", "| uncertainty "
"""In the README: its rows of explanation methods lie between."""

FAMILIES: dict[Family, str] = {
    "gradient": "gradients at a layer: the forward pass, and the tail behind the layer backwards",
    "activation": "activations at a layer, in the forward pass itself",
    "perturbation": "other inputs: what the model says when something is hidden; slow, and nothing else is asked",
    "input gradient": "gradients of the input: finest grain, much noise",
    "transformer": "attention between tokens",
}

SITUATIONS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "No idea yet; a network that ends with average pooling and a linear layer",
        ("gradcam", "hirescam", "cam"),
        "one and the same map there, in logits that add up to the score, at the price of the forward pass",
    ),
    (
        "A flattening head, as many 3-D networks have",
        ("hirescam",),
        "the mean gradient of Grad-CAM can point where the score would fall",
    ),
    (
        "Several lesions, some of them small",
        ("layercam", "gradcam_plus_plus"),
        "position by position, also at an earlier, finer layer; or fuse layers: `layer=[...]`",
    ),
    ("What tells this finding from those most like it", ("finercam",), "what they share is taken away"),
    (
        "May the map be believed? A second witness that uses no gradient",
        ("occlusion", "rise", "ablationcam"),
        "what the score loses when the place is hidden, or has when it is seen (`rise`); at the price of many passes",
    ),
    (
        "What does the network look at, whatever it says",
        ("eigencam",),
        "the same for all targets",
    ),
    (
        "Which patterns does it tell apart, and what does each add",
        ("feature_factorization",),
        "a few concepts, each with its own map, in logits that add up to the evidence",
    ),
    (
        "A vision transformer",
        ("gradcam", "transformer_attribution", "transformer_lrp", "legrad", "attention_rollout"),
        "Grad-CAM at a layer that still has a gradient is found by itself; rollout does not know the target",
    ),
    (
        "A completeness that can be checked: attributions add up to the change of the score",
        ("integrated_gradients", "lrp", "fullgrad"),
        "fine grain on the input; the baseline is part of the answer",
    ),
    (
        "Fine edges for a figure",
        ("guided_backprop", "guided_gradcam"),
        "illustrations: they change little when the weights are drawn at random, so they are no evidence",
    ),
)
"""Of methods that are not on the shelf nothing is said."""

NEEDS: tuple[tuple[str, Callable[[type[Method]], bool]], ...] = (
    ("Two images, patients or models on one scale (the unit is the logit)", lambda m: m.unit == "logit"),
    ("Evidence against the target as well as for it", lambda m: m.signed and m.class_specific),
    ("Another map for another target", lambda m: m.class_specific),
    (
        "One forward pass and a few behind the layer, for a whole archive",
        lambda m: few(m.forwards, 1) and few(m.tail_forwards, 1) and few(m.tail_backwards, 3),
    ),
    ("Doubt by dropout, replayed behind the layer", lambda m: m.replays),
    ("No gradient: the model is only asked", lambda m: m.tail_backwards == 0),
    ("Evidence on the input's own cells", lambda m: issubclass(m, InputMethod)),
)


MADE = """Made by `python -m docs.explainers.methods_page` from what each file in `medcam/explainers` declares, and
from the costs in [results/explainers.md](../results/explainers.md); a test holds page and shelf together. All of them
are asked in the same way, `explain(model, x, method=...)`, and several at once from one forward pass. How to come
from another library is told in [migration.md](migration.md), and what maps look like by the scripts in
`docs/gallery`."""
COST = """*Cost* is what the file declares and a test counts, for one class of one image with default settings: forward
passes (F), the captured one included; forward passes of the tail alone, from what is looked at to the output (T); and
backward passes down to there (B), those for the result's `logits` included. Further classes take their own backward
passes, and of methods of the input's gradient (but for `fullgrad`) their own forward passes. What a network's first
explanation learns of it, in a few passes, is kept. *Measured*: the time of one explanation in forward passes, median
(least to most) of the rounds."""


def shelf() -> dict[str, type[Method]]:
    """The methods by name."""
    return {name: SHELF.load(name) for name in SHELF.names()}


def measured(page: str) -> dict[str, str]:
    """Forwards that each method took, as the page of the benchmarks tells: "1.04 (1.02 to 1.07)"."""
    return {
        row[1]: row[2].strip() for row in re.finditer(r"^\| `(\w+)`, one class[^|]*\|([^|]*)\|", page, re.MULTILINE)
    }


def text(methods: Mapping[str, type[Method]], costs: Mapping[str, str]) -> str:
    """The page."""
    parts = [
        "# Explanation methods: which one when",
        MADE,
        "## Which one when",
        _table(("in this situation", "take", "because"), _situations(methods)),
        "## What is wanted, and which methods give it",
        _table(
            ("wanted", "methods"), [(want, _names(n for n, m in methods.items() if gives(m))) for want, gives in NEEDS]
        ),
        "## What they are",
        COST,
    ]
    for family in get_args(Family):
        own = {name: method for name, method in methods.items() if method.family == family}
        if own:
            parts += [f"### {FAMILIES[family][0].upper()}{FAMILIES[family][1:]}", _family(own, costs)]
    return "\n\n".join(parts) + "\n"


def passes(method: type[Method]) -> str:
    """What a method costs: "1 F + 1 B"."""
    parts = (method.forwards, "F"), (method.tail_forwards, "T"), (method.tail_backwards, "B")
    return " + ".join(f"{cost} {what}" if isinstance(cost, int) else f"({cost}) {what}" for cost, what in parts if cost)


def readme_rows(methods: Mapping[str, type[Method]]) -> str:
    """One row of the README's table for each family."""
    rows = []
    for family in get_args(Family):
        names = _names(name for name, method in methods.items() if method.family == family)
        rows.append(f"| {names} | {FAMILIES[family]} |\n" if names else "")
    return "".join(rows)


def with_rows(readme: str, methods: Mapping[str, type[Method]]) -> str:
    """The README with those rows in their place."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + readme_rows(methods) + END + rest.split(END, 1)[1]


def _situations(methods: Mapping[str, type[Method]]) -> list[Sequence[str]]:
    known = [(when, [name for name in names if name in methods], why) for when, names, why in SITUATIONS]
    return [(when, _names(names), why) for when, names, why in known if names]


def _family(methods: Mapping[str, type[Method]], costs: Mapping[str, str]) -> str:
    header = ("method", "what it shows", "unit", "sign", "knows the target", "cost", "measured", "source")
    return _table(
        header,
        [
            (
                f"`{name}`",
                " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split()),
                method.unit,
                _sign(method),
                "yes" if method.class_specific else "no",
                passes(method),
                costs.get(name, "not yet"),
                method.paper,
            )
            for name, method in methods.items()
        ],
    )


def _sign(method: type[Method]) -> str:
    if not method.signed:
        return "for only"
    return "for and against" if method.class_specific else "both, for no class"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(row) for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Write both."""
    methods = shelf()
    costs = measured(COSTS.read_text()) if COSTS.exists() else {}
    PAGE.write_text(text(methods, costs))
    README.write_text(with_rows(README.read_text(), methods))


if __name__ == "__main__":
    main()
