"""What is learned after the network: calibration, thresholds, conformal sets and support, from calibration patients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from medcam.data.splits import HashedSplit
from medcam.errors import UsageError
from medcam.evaluation.table import Scored
from medcam.reliability import calibration as calibrating
from medcam.reliability import conformal as covering
from medcam.reliability import support as supporting
from medcam.reliability.calibration import Calibration, Kind
from medcam.reliability.choice import choose
from medcam.reliability.conformal import Conformal
from medcam.reliability.support import Support
from medcam.reliability.thresholds import Threshold, fixed_sensitivity, youden
from medcam.training.answers import Answers

SPLIT = "configs/split.json"
"""Where a bundle keeps whom it was trained on."""


@dataclass(frozen=True)
class Learned:
    """How a network's logits are to be read."""

    calibration: Calibration
    """With the thresholds of all labels, on its own scale."""
    conformal: Conformal
    support: Support

    def blobs(self, split: HashedSplit) -> Mapping[str, bytes]:
        """As a bundle keeps them."""
        return {
            calibrating.BLOB: self.calibration.to_bytes(),
            covering.BLOB: self.conformal.to_bytes(),
            supporting.BLOB: self.support.to_bytes(),
            SPLIT: json.dumps(split.to_dict(), indent=1).encode(),
        }


def learn(
    training: Answers,
    calibration: Answers,
    alpha: float,
    sensitivity: float | None,
    salt: str,
    kind: Kind | Literal["auto"] = "scaling",
) -> Learned:
    """From what the network said about two groups of patients, none of whom is a test patient.

    Args:
        training: of those it was trained on: the cases that later ones are compared with.
        calibration: of those it has never seen: everything else.
        alpha: how often a conformal set may miss the truth.
        sensitivity: of the threshold; None takes Youden's.
        salt: of the hashed split.
        kind: of the calibration; "auto" takes the better one over folds of its own patients.

    Raises:
        UsageError: "too-few-patients" for an isotonic calibration.
    """
    told = calibration.scored
    if kind == "auto":
        fitted = choose(told.logits, told.targets, told.head, told.patients, told.labels)
    else:
        people = told.patients
        fitted = calibrating.fit(told.logits, told.targets, told.head, patients=people, kind=kind, labels=told.labels)
    known = calibration.calibrated(fitted)
    thresholds = tuple(_threshold(known, k, sensitivity) for k in range(len(known.labels)))
    fitted = replace(fitted, thresholds=thresholds)
    sets = covering.fit(known.probabilities, known.targets, known.patients, alpha, head=known.head, labels=known.labels)
    support = Support.fit(
        training.examples(fitted),
        calibration.examples(fitted),
        [threshold.value for threshold in thresholds],
        layer=calibration.layer,
        salt=salt,
    )
    return Learned(fitted, sets, support)


def _threshold(known: Scored, label: int, sensitivity: float | None) -> Threshold:
    p, y = known.probabilities[:, label], known.targets[:, label]
    try:
        if sensitivity is None:
            return youden(p, y, known.patients)
        return fixed_sensitivity(p, y, known.patients, sensitivity)
    except UsageError as error:
        if error.code != "one-class":
            raise
    origin = f"one half, because all or no calibration patients have {known.labels[label]}"
    flagged = p >= 0.5
    shares = [float(part.mean()) if len(part) else 1.0 for part in (flagged[y > 0.5], ~flagged[y < 0.5])]
    return Threshold(0.5, origin, (0.0, 1.0), *shares)
