"""Does a probability of disease rise with severity: over all clips, between patients, and within each patient?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate
from medcam.evaluation.doubt import pearson

Values = npt.NDArray[np.float64]

LEAST_SURE = 0.05
"""Share of frames that are left out because their confidence is lowest."""


@dataclass(frozen=True)
class Correlations:
    """Pearson's r of one score with severity; intervals by drawing patients."""

    clips: Estimate
    """Over all clips, each counted once."""
    between: Estimate
    """Of the patients' means."""
    within: Estimate
    """Of the clips' differences from their patient's means (Bland & Altman 1995): what patients are like does not
    count, only which of a patient's clips is worse."""
    several: tuple[int, int]
    """Patients with clips of different severity, and their clips: the only ones that say something within."""


def correlations(score: npt.ArrayLike, severity: npt.ArrayLike, patients: Sequence[str]) -> Correlations:
    """Of (N,) clips.

    Args:
        score, severity: (N,).
        patients: (N,) whom each clip shows.
    """
    x, y = np.asarray(score, np.float64), np.asarray(severity, np.float64)
    names, of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    score_means, means = (np.bincount(of, weights=values) / np.bincount(of) for values in (x, y))  # (patients,) each
    own_score, own = x - score_means[of], y - means[of]
    varies = np.array([np.ptp(y[of == n]) > 0 for n in range(len(names))])
    clips, people = Bootstrap(patients), Bootstrap([str(name) for name in names])
    return Correlations(
        clips=clips.estimate(lambda weights: pearson(x, y, weights)),
        between=people.estimate(lambda weights: pearson(score_means, means, weights)),
        within=clips.estimate(lambda weights: pearson(own_score, own, weights)),
        several=(int(varies.sum()), int(varies[of].sum())),
    )


def sure(confidence: npt.ArrayLike, share: float = LEAST_SURE) -> npt.NDArray[np.bool_]:
    """(N,) frames whose confidence is not below its quantile, as the paper keeps them."""
    values = np.asarray(confidence, np.float64)
    kept: npt.NDArray[np.bool_] = values >= np.quantile(values, share)
    return kept
