"""Figures over all labels: their means, and for exclusive classes who is taken for whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Measure, Values
from medcam.evaluation.classification import Ranked, counts
from medcam.record import Record

MACRO = ("sensitivity", "specificity", "precision", "f1", "balanced_accuracy")
"""Properties of `Counts` whose mean over labels is given."""


@dataclass(frozen=True)
class Overall(Record):
    """All labels together. Intervals by patient bootstrap."""

    macro: Mapping[str, Estimate]
    """Means over the labels that have both classes in the data: "auroc", "average_precision" and `MACRO`."""
    labels: int
    """How many labels these are means of."""
    classes: Mapping[str, Estimate]
    """Of exclusive classes, each case taken for its most probable one: "accuracy", "balanced_accuracy" (mean
    sensitivity of the classes that are there), "mcc" (Gorodkin 2004). Empty where labels do not exclude each other."""
    confusion: tuple[tuple[int, ...], ...]
    """[true][predicted], cases; empty as above."""


def overall(
    targets: Values, scores: Values, flagged: npt.NDArray[np.bool_], bootstrap: Bootstrap, *, exclusive: bool = False
) -> Overall:
    """Means over labels.

    Args:
        targets, scores: (N, K).
        flagged: (N, K) decisions, label by label.
        bootstrap: draws of the N rows' patients.
        exclusive: labels exclude each other, as those of a softmax: who is taken for whom is told by the highest score,
            which is no decision of screening.
    """
    sick = targets > 0.5
    usable = [k for k in range(sick.shape[1]) if sick[:, k].any() and not sick[:, k].all()]
    measures: dict[str, Measure] = {}
    if usable:
        ranked = [Ranked(sick[:, k], scores[:, k]) for k in usable]
        measures["auroc"] = _mean([one.auroc for one in ranked])
        measures["average_precision"] = _mean([one.average_precision for one in ranked])
        measures |= {name: _mean([_ratio(name, sick[:, k], flagged[:, k]) for k in usable]) for name in MACRO}
    classes: dict[str, Measure] = {}
    table: tuple[tuple[int, ...], ...] = ()
    if exclusive:
        true, predicted = sick.argmax(axis=1), scores.argmax(axis=1)
        classes = class_measures(true, predicted, sick.shape[1])
        cells = confusion(true, predicted, sick.shape[1], np.ones((1, len(sick))))[0]
        table = tuple(tuple(int(cell) for cell in row) for row in cells)
    return Overall(bootstrap.estimates(measures), len(usable), bootstrap.estimates(classes), table)


def class_measures(true: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], classes: int) -> dict[str, Measure]:
    """Accuracy, balanced accuracy and Matthews' correlation of exclusive classes, from (N,) numbers of classes."""

    def of(figure: Callable[[Values], Values]) -> Measure:
        return lambda weights: figure(confusion(true, predicted, classes, weights))

    return {"accuracy": of(_accuracy), "balanced_accuracy": of(_balanced_accuracy), "mcc": of(_correlation)}


def confusion(true: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp], classes: int, weights: Values) -> Values:
    """(D, classes, classes): weight of each true and predicted class, for weights (D, N)."""
    cell = np.eye(classes * classes)[true * classes + predicted]  # (N, cells)
    table: Values = (weights @ cell).reshape(len(weights), classes, classes)
    return table


def _accuracy(table: Values) -> Values:
    right: Values = np.trace(table, axis1=1, axis2=2) / table.sum(axis=(1, 2))
    return right


def _balanced_accuracy(table: Values) -> Values:
    there = table.sum(axis=2)  # (D, classes)
    found = np.divide(np.diagonal(table, axis1=1, axis2=2), there, out=np.zeros_like(there), where=there > 0)
    mean: Values = found.sum(axis=1) / (there > 0).sum(axis=1)
    return mean


def _correlation(table: Values) -> Values:
    true, predicted, total = table.sum(axis=2), table.sum(axis=1), table.sum(axis=(1, 2))
    together = np.trace(table, axis1=1, axis2=2) * total - (true * predicted).sum(axis=1)
    spread = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    value = np.where(spread > 0, together / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    return np.where((true > 0).sum(axis=1) > 1, value, np.nan)


def _ratio(name: str, sick: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_]) -> Measure:
    return lambda weights: getattr(counts(sick, flagged, weights), name)


def _mean(measures: Sequence[Measure]) -> Measure:
    return lambda weights: np.mean([measure(weights) for measure in measures], axis=0)
