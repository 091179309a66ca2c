"""From several rows to one: frames to a cine, patches to a slide, images to an exam, exams to a patient."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.evaluation.table import Scored, Values, log_probability, probability
from medcam.plugins import near

Rule = Literal["mean probability", "majority vote", "mean logit", "max", "log-mean-exp", "log-sum-exp"]
Level = Literal["image", "exam", "patient"]
RULES: tuple[str, ...] = get_args(Rule)

VOTE: Rule = "majority vote"
SEVERAL = "several"
"""What a column says of a group whose rows differ in it."""

_TIE = 1e-6
"""Of one vote: this much goes by mean probability, so that it decides between equal numbers of votes."""
_LEAST = 1e-15
"""Probabilities nearer to 0 or 1 become log odds as if they were this near."""


def aggregate(
    scored: Scored, rule: str = "mean probability", by: Level = "exam", threshold: float | Sequence[float] = 0.5
) -> Scored:
    """One row for each image, exam or patient, in order of first appearance.

    A group is positive for a label if one of its rows is. Of a column, a group keeps the value that its rows share.

    Args:
        scored: the rows.
        rule: how probabilities become one. "mean probability": their mean. "majority vote": the share of rows that say
            yes (softmax: of rows that predict the label); equal votes are decided by mean probability. "mean logit":
            the probability of the mean logit (softmax: of the mean log probability), a geometric mean of odds. "max":
            the highest (softmax: of each label, then scaled to add up to one). "log-mean-exp", "log-sum-exp": of the
            logits, as a bundle's card may ask.
        by: what makes a group; of one image there are several rows if it was scored by its frames or tiles.
        threshold: at which a row says yes in a vote, for all labels or for each; a softmax head votes for its most
            probable label instead.

    Raises:
        UsageError: "unknown-aggregation"; "mixed-labels", a softmax head and rows of different classes in one group.
    """
    check(rule)
    keys = {"image": scored.files, "exam": scored.exams, "patient": scored.patients}[by]
    names, group = _groups(keys)  # group: (N,) number of each row's group
    if len(names) == len(scored):
        return scored
    logits, probabilities = _pooled(scored, group, len(names), rule, threshold)
    targets = _highest(scored.targets, group, len(names))
    if scored.head == "softmax" and (targets.sum(axis=1) > 1 + 1e-9).any():
        mixed = [name for name, row in zip(names, targets, strict=True) if row.sum() > 1 + 1e-9]
        raise UsageError(
            "mixed-labels", f"The {by}s {', '.join(mixed[:5])} have rows of different classes: split them."
        )
    first = [int(i) for i in np.unique(group, return_index=True)[1]]
    columns = {name: _shared(values, group, len(names)) for name, values in scored.columns.items()}
    return Scored(
        labels=scored.labels,
        head=scored.head,
        logits=logits,
        probabilities=probabilities,
        targets=targets,
        patients=_shared(scored.patients, group, len(names)),
        exams=_shared(scored.exams, group, len(names)),
        files=tuple(scored.files[i] for i in first),
        parts=(0,) * len(names),
        columns=columns,
    )


def check(rule: str) -> None:
    """Refuse a rule that is none of `RULES`, before any work.

    Raises:
        UsageError: "unknown-aggregation".
    """
    if rule not in RULES:
        raise UsageError("unknown-aggregation", f"There is no aggregation {rule!r}. {near(rule, list(RULES))}")


def _groups(keys: Sequence[str]) -> tuple[list[str], npt.NDArray[np.intp]]:
    numbers: dict[str, int] = {}
    group = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
    return list(numbers), group


def _pooled(
    scored: Scored, group: npt.NDArray[np.intp], groups: int, rule: str, threshold: float | Sequence[float]
) -> tuple[Values, Values]:
    """Logits and probabilities (groups, K)."""
    softmax = scored.head == "softmax"
    if rule in ("mean logit", "log-mean-exp", "log-sum-exp"):
        logits = log_probability(scored.logits, "softmax") if softmax else scored.logits
        z = _mean(logits, group, groups) if rule == "mean logit" else _log_sum_exp(logits, group, groups, rule)
        return z, probability(z, scored.head)
    if rule == "max":
        p = _highest(scored.probabilities, group, groups)
        p = p / p.sum(axis=1, keepdims=True) if softmax else p
    else:
        p = _mean(scored.probabilities, group, groups)
    if rule == VOTE:
        votes = (
            np.eye(len(scored.labels))[scored.predicted] if softmax else scored.probabilities >= np.asarray(threshold)
        )
        size = np.bincount(group, minlength=groups)[:, None]
        p = (_mean(votes.astype(np.float64), group, groups) * size + _TIE * p) / (size + _TIE)
    safe = np.clip(p, _LEAST, 1 - _LEAST)
    return np.log(safe) if softmax else np.log(safe) - np.log1p(-safe), p


def _mean(values: Values, group: npt.NDArray[np.intp], groups: int) -> Values:
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, group, values)
    return total / np.bincount(group, minlength=groups)[:, None]


def _highest(values: Values, group: npt.NDArray[np.intp], groups: int) -> Values:
    most = np.full((groups, values.shape[1]), -np.inf)
    np.maximum.at(most, group, values)
    return most


def _log_sum_exp(logits: Values, group: npt.NDArray[np.intp], groups: int, rule: str) -> Values:
    most = _highest(logits, group, groups)
    total = np.zeros_like(most)
    np.add.at(total, group, np.exp(logits - most[group]))
    size = np.bincount(group, minlength=groups)[:, None] if rule == "log-mean-exp" else 1
    return most + np.log(total / size)


def _shared(values: Sequence[str], group: npt.NDArray[np.intp], groups: int) -> tuple[str, ...]:
    """The value that all rows of a group have, or `SEVERAL`."""
    found: list[str | None] = [None] * groups
    for value, number in zip(values, group.tolist(), strict=True):
        found[number] = value if found[number] in (None, value) else SEVERAL
    return tuple(value or "" for value in found)
