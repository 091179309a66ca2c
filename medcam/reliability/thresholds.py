"""Where to cut: Youden, a fixed sensitivity, costs; chosen by patient, with an interval, and frozen.

At or above the threshold is positive, everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.record import Record

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Threshold(Record):
    """A cut on the scores in [0, 1], and what it did on the patients it was chosen on."""

    value: float
    origin: str
    """E.g. "Youden on 120 calibration patients"."""
    interval: tuple[float, float]
    """2.5 to 97.5 % of the cuts over draws of patients."""
    sensitivity: float
    specificity: float
    """Both over the images it was chosen on: optimistic; report those of test patients."""


def youden(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: Sequence[str],
    *,
    who: str = "calibration patients",
    draws: int = 500,
    seed: int = 0,
) -> Threshold:
    """The median of the cuts with the greatest sensitivity + specificity - 1 over draws of patients (Youden 1950).

    The cut of a single sample is unstable; its median over draws is less so.

    Args:
        scores: (N,) in [0, 1].
        targets: (N,) 0 or 1.
        patients: (N,); drawn whole.
        who: the patients in words.

    Raises:
        UsageError: "one-class".
    """
    cases = _Patients(scores, targets, patients)
    cuts = cases.bootstrap(lambda sick, healthy: _youden(sick, healthy), draws, seed)
    return cases.threshold(float(np.median(cuts)), cuts, f"Youden on {cases.count} {who}")


def fixed_sensitivity(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    patients: Sequence[str],
    sensitivity: float = 0.95,
    *,
    finite_sample: bool = True,
    who: str = "calibration patients",
    draws: int = 500,
    seed: int = 0,
) -> Threshold:
    """The highest cut that flags this share of the sick patients; a patient counts by the highest score of its images.

    Args:
        finite_sample: let the share hold for a new sick patient on average over calibration samples, as conformal
            prediction does, instead of for the sample only. With too few patients everything is flagged, and the
            origin says so.

    Raises:
        UsageError: "one-class"; "bad-sensitivity".
    """
    if not 0 < sensitivity < 1:
        raise UsageError("bad-sensitivity", f"A sensitivity lies strictly between 0 and 1, not {sensitivity}.")
    cases = _Patients(scores, targets, patients)
    cut = conformal_cut if finite_sample else plain_cut
    positives = cases.highest_positives()
    value = cut(positives, sensitivity)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(positives, (draws, len(positives)))
    cuts = np.array([max(cut(each, sensitivity), 0.0) for each in drawn])
    origin = f"sensitivity {sensitivity:.0%} on {len(positives)} {who} with the finding"
    if not np.isfinite(value):
        needed = int(np.ceil(1 / (1 - sensitivity) - 1e-9)) - 1
        origin += f": too few, at least {needed} are needed, so that all are flagged"
    return cases.threshold(max(value, 0.0), cuts, origin)


def plain_cut(positives: npt.ArrayLike, sensitivity: float) -> float:
    """The (floor((1 - s) n) + 1)-th smallest score of the sick: at least a share s of them lies at or above it."""
    ordered = np.sort(np.asarray(positives, np.float64))
    return float(ordered[int(np.floor((1 - sensitivity) * len(ordered) + 1e-9))])


def conformal_cut(positives: npt.ArrayLike, sensitivity: float) -> float:
    """The floor((n + 1)(1 - s))-th smallest score of the sick, -inf if that is none: P(new sick >= cut) >= s."""
    ordered = np.sort(np.asarray(positives, np.float64))
    rank = int(np.floor((len(ordered) + 1) * (1 - sensitivity) + 1e-9))
    return float(ordered[rank - 1]) if rank else -np.inf


def cost(false_positive: float, false_negative: float) -> float:
    """The cut on a calibrated probability at which both errors are expected to cost the same (Elkan 2001)."""
    return false_positive / (false_positive + false_negative)


def net_benefit(scores: npt.ArrayLike, targets: npt.ArrayLike, threshold: float) -> float:
    """True positives per case, less false positives at the exchange rate that the threshold implies (Vickers 2006)."""
    flagged, sick = np.asarray(scores) >= threshold, np.asarray(targets) > 0.5
    gained, lost = (flagged & sick).mean(), (flagged & ~sick).mean()
    return float(gained - lost * threshold / (1 - threshold))


class _Patients:
    """Scores with whom they belong to."""

    def __init__(self, scores: npt.ArrayLike, targets: npt.ArrayLike, patients: Sequence[str]) -> None:
        self.scores, self.sick = np.asarray(scores, np.float64).ravel(), np.asarray(targets).ravel() > 0.5
        names, self.of = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
        self.count = len(names)
        if self.sick.all() or not self.sick.any():
            raise UsageError("one-class", "A threshold needs patients with and without the finding; add some.")

    def bootstrap(self, cut: Callable[[Values, Values], float], draws: int, seed: int) -> Values:
        """The cut over draws of whole patients; draws with one class only are left out."""
        rng, order = np.random.default_rng(seed), np.argsort(self.of, kind="stable")
        first = np.searchsorted(self.of[order], np.arange(self.count + 1))
        cuts = []
        for _ in range(draws):
            drawn = rng.integers(0, self.count, self.count)
            rows = np.concatenate([order[first[p] : first[p + 1]] for p in drawn])
            sick = self.sick[rows]
            if sick.any() and not sick.all():
                cuts.append(cut(self.scores[rows][sick], self.scores[rows][~sick]))
        return np.array(cuts or [cut(self.scores[self.sick], self.scores[~self.sick])])

    def highest_positives(self) -> Values:
        """The highest score of each patient's images with the finding."""
        highest = np.full(self.count, -np.inf)
        np.maximum.at(highest, self.of[self.sick], self.scores[self.sick])
        found: Values = highest[np.isfinite(highest)]
        return found

    def threshold(self, value: float, cuts: Values, origin: str) -> Threshold:
        low, high = np.percentile(cuts, (2.5, 97.5))
        flagged = self.scores >= value
        return Threshold(
            value=value,
            origin=origin,
            interval=(float(low), float(high)),
            sensitivity=float(flagged[self.sick].mean()),
            specificity=float((~flagged[~self.sick]).mean()),
        )


def _youden(sick: Values, healthy: Values) -> float:
    """Midway between the two scores around the best cut; of equally good cuts the middle one."""
    values, of = np.unique(np.concatenate([sick, healthy]), return_inverse=True)
    if len(values) == 1:
        return float(values[0])
    share = np.where(np.arange(len(of)) < len(sick), 1 / len(sick), -1 / len(healthy))
    below = np.bincount(of, weights=share)[:-1].cumsum()  # sensitivity lost less specificity won, up to each cut
    best = np.flatnonzero(below <= below.min() + 1e-12)
    at = best[len(best) // 2]
    return float((values[at] + values[at + 1]) / 2)
