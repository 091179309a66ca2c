"""Intervals by drawing patients, not images, with replacement: images of one patient resemble each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.record import Record

Values = npt.NDArray[np.float64]
Measure = Callable[[Values], Values]
"""From weights (D, N), how often each row was drawn in each of D draws, to the figure of each draw (D,); NaN where it
is not defined, e.g. where only one class was drawn."""

ENOUGH = 100
"""Draws that must count for an interval to be given."""
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Estimate(Record):
    """A figure with its 95 % interval."""

    value: float | None
    """None where it is not defined."""
    low: float | None = None
    high: float | None = None
    """None where no interval can be given."""
    method: str = ""
    """How the interval was had."""
    draws: int = 0
    """Of a bootstrap: draws that counted."""
    discarded: int = 0
    """Of a bootstrap: draws for which the figure is not defined, as a rule because one class was missing."""


class Bootstrap:
    """Draws of patients (Efron & Tibshirani, 1993); every row of a drawn patient counts as often as the patient.

    Args:
        patients: (N,) whom each row shows.
        draws: how many.
        seed: the same draws for every figure, so that differences between figures are paired.
        strata: (N,) e.g. the label: patients are drawn within the stratum of their highest value, so that each draw
            has as many patients of each stratum as the data.
    """

    def __init__(
        self, patients: Sequence[str], *, draws: int = 2000, seed: int = 0, strata: npt.ArrayLike | None = None
    ) -> None:
        names, self._patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        self.patients, self.draws, self.seed = len(names), draws, seed
        stratum = np.full(len(names), -np.inf)
        np.maximum.at(stratum, self._patient, 0.0 if strata is None else np.asarray(strata, np.float64))
        self._strata = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
        self._kept: Values | None = None
        self._method = "patient bootstrap" if strata is None else "stratified patient bootstrap"

    def weights(self) -> Iterator[Values]:
        """The draws in turns: (D, N), how often each row was drawn."""
        rng = np.random.default_rng(self.seed)
        at_once = max(1, _NUMBERS_AT_ONCE // max(len(self._patient), 1))
        if self._kept is not None:
            yield self._kept
            return
        for start in range(0, self.draws, at_once):
            count = min(at_once, self.draws - start)
            drawn = np.zeros((count, self.patients))
            for members in self._strata:
                shares = np.full(len(members), 1 / len(members))
                drawn[:, members] = rng.multinomial(len(members), shares, size=count)
            weights = drawn[:, self._patient]
            if count == self.draws:  # all at once, and few enough to be kept for the next figure
                self._kept = weights
            yield weights

    def values(self, measures: Mapping[str, Measure]) -> dict[str, Values]:
        """Each figure in each draw: (draws,)."""
        found: dict[str, list[Values]] = {name: [] for name in measures}
        for weights in self.weights():
            for name, measure in measures.items():
                found[name].append(measure(weights))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def estimates(self, measures: Mapping[str, Measure]) -> dict[str, Estimate]:
        """Each figure on the data as they are, with its 95 % percentile interval."""
        once = np.ones((1, len(self._patient)))
        drawn = self.values(measures)
        return {name: self._estimate(float(measure(once)[0]), drawn[name]) for name, measure in measures.items()}

    def estimate(self, measure: Measure) -> Estimate:
        """One figure."""
        return self.estimates({"": measure})[""]

    def _estimate(self, value: float, drawn: Values) -> Estimate:
        counted = drawn[np.isfinite(drawn)]
        discarded = len(drawn) - len(counted)
        if not np.isfinite(value):
            return Estimate(None, method=self._method, draws=len(counted), discarded=discarded)
        if len(counted) < ENOUGH or self.patients < 2:
            return Estimate(value, method=self._method, draws=len(counted), discarded=discarded)
        low, high = np.percentile(counted, (2.5, 97.5))
        if low == high:  # as where there is no error at all: drawing shows no doubt, and there is some
            return Estimate(value, method=self._method, draws=len(counted), discarded=discarded)
        return Estimate(value, float(low), float(high), self._method, len(counted), discarded)


def patient_bootstrap(
    measure: Measure,
    patients: Sequence[str],
    *,
    draws: int = 2000,
    seed: int = 0,
    strata: npt.ArrayLike | None = None,
) -> Estimate:
    """A figure with its 95 % percentile interval over patients; see `Bootstrap` and `Measure`."""
    return Bootstrap(patients, draws=draws, seed=seed, strata=strata).estimate(measure)


def of_rows(measure: Callable[[npt.NDArray[np.intp]], float]) -> Measure:
    """A `Measure` from a figure of row indices, drawn rows several times over; slow, for figures without weights.

    Args:
        measure: from indices (n,) to the figure; ValueError where it is not defined.
    """

    def measured(weights: Values) -> Values:
        found = np.full(len(weights), np.nan)
        for draw, row in enumerate(weights):
            try:
                found[draw] = measure(np.repeat(np.arange(len(row)), row.astype(np.intp)))
            except ValueError:
                continue
        return found

    return measured
