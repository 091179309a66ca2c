"""Which calibration? Tried by folds of the calibration patients, so that neither is judged by what it was fitted to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.reliability.calibration import Calibration, Head, Kind, fit
from medcam.reliability.isotonic import refuse_few

FOLDS = 5


def choose(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    head: Head,
    patients: Sequence[str],
    labels: Sequence[str] = (),
    seed: int = 0,
) -> Calibration:
    """The kind with the lower Brier score on patients that it was not fitted to, fitted to all of them.

    Scaling where it is as good, and where there are too few patients for steps. No test patient has a say. What both
    did is in the calibration's figures.

    Args:
        logits, targets, head, patients, labels: as for `calibration.fit`.
        seed: of the folds.
    """
    try:
        refuse_few(targets, patients, labels)
    except UsageError as error:
        found = fit(logits, targets, head, patients=patients)
        return replace(found, origin=f"{found.origin}; scaling, because there are too few for steps: {error}")
    briers = {kind: brier(logits, targets, head, patients, kind, seed) for kind in ("scaling", "isotonic")}
    best: Kind = "isotonic" if briers["isotonic"] < briers["scaling"] else "scaling"
    found = fit(logits, targets, head, patients=patients, kind=best, labels=labels)
    why = f"{best}, by the lower Brier score over {FOLDS} folds of them"
    figures = {f"cross-validated Brier score, {kind}": value for kind, value in briers.items()}
    return replace(found, origin=f"{found.origin}; {why}", figures={**found.figures, **figures})


def brier(
    logits: npt.ArrayLike, targets: npt.ArrayLike, head: Head, patients: Sequence[str], kind: Kind, seed: int = 0
) -> float:
    """Mean over rows and labels of the squared error, each row by a fit to the patients of the other folds."""
    z, y = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    names, of = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    side = _dealt(np.array([y[of == n].max(axis=0) for n in range(len(names))]), seed)[of]
    squares = np.zeros_like(y)
    for fold in range(FOLDS):
        out = side == fold
        rest = [who for who, is_out in zip(patients, out, strict=True) if not is_out]
        found = fit(z[~out], y[~out], head, patients=rest, kind=kind, enough=True)
        squares[out] = (found.probability(z[out]) - y[out]) ** 2
    return float(squares.mean())


def _dealt(has: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.intp]:
    """(P,) folds, dealt in turns to patients (P, K) sorted by their labels, so that each fold has as many of each."""
    order = np.random.default_rng(seed).permutation(len(has))
    order = order[np.lexsort(has[order].T)]
    fold = np.empty(len(has), np.intp)
    fold[order] = np.arange(len(has)) % FOLDS
    return fold
