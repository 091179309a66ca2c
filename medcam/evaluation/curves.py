"""Points to draw: ROC and precision-recall with a band, risk over coverage; few enough to be kept with the figures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Values
from medcam.evaluation.classification import Ranked
from medcam.record import Record
from medcam.reliability.selective import risk_coverage

GRID = np.linspace(0, 1, 101)
"""Where bands are given, and curves of many points are cut down to."""


@dataclass(frozen=True)
class Curve(Record):
    """y over x; the band holds 95 % of the bootstrap's curves at each x by itself."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def roc(ranked: Ranked, bootstrap: Bootstrap) -> Curve | None:
    """Sensitivity over 1 - specificity; None with one class only."""

    def line(sick: Values, healthy: Values) -> Values:
        x, y = (np.r_[0, part.cumsum()] / part.sum() for part in (healthy, sick))
        found: Values = np.interp(GRID, x, y)
        return found

    return _curve(ranked, bootstrap, line)


def precision_recall(ranked: Ranked, bootstrap: Bootstrap) -> Curve | None:
    """Precision over sensitivity, as steps; None with one class only."""

    def line(sick: Values, healthy: Values) -> Values:
        found, taken = sick.cumsum(), (sick + healthy).cumsum()
        precision = found / np.maximum(taken, 1e-300)
        at = np.searchsorted(found / found[-1], np.maximum(GRID, 1e-9) - 1e-12)  # the first cut that finds so many
        steps: Values = precision[np.minimum(at, len(found) - 1)]
        return steps

    return _curve(ranked, bootstrap, line)


def risk_by_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> Curve:
    """Error among the cases that are kept, over their share, the surest first."""
    found = risk_coverage(confidence, correct)
    at = np.unique(np.searchsorted(found.coverage, np.linspace(found.coverage[0], 1, 101) - 1e-12))
    return Curve(tuple(found.coverage[at].tolist()), tuple(found.risk[at].tolist()))


def _curve(ranked: Ranked, bootstrap: Bootstrap, line: Callable[[Values, Values], Values]) -> Curve | None:
    drawn = []
    for weights in bootstrap.weights():
        sick, healthy = ranked.groups(weights)  # (D, G) each
        both = (sick.sum(axis=1) > 0) & (healthy.sum(axis=1) > 0)
        drawn += [line(s, h) for s, h in zip(sick[both], healthy[both], strict=True)]
    once = [part[0] for part in ranked.groups(np.ones((1, ranked.rows)))]
    if not drawn or not all(part.sum() > 0 for part in once):
        return None
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    return Curve(*(tuple(np.round(values, 5).tolist()) for values in (GRID, line(*once), low, high)))
