"""From a bundle's logits to probabilities and decisions, as screening makes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medcam.evaluation.table import Scored
from medcam.models import Bundle
from medcam.reliability.apply import CALIBRATED, Reliability
from medcam.reliability.calibration import Calibration

VOTES = "share of votes"
ARGMAX = "the most probable class, no threshold"


@dataclass(frozen=True)
class Decisions:
    """What a bundle says about scores."""

    thresholds: tuple[float, ...]
    """(K,) of the probabilities."""
    origins: tuple[str, ...]
    """(K,) how each was chosen."""
    score_name: str
    calibration: Calibration | None
    exclusive: bool
    """A softmax head decides for the most probable class."""

    @classmethod
    def of(cls, bundle: Bundle, labels: Sequence[str]) -> "Decisions":
        """As the bundle's card and calibration say, for these of its labels in this order."""
        card, reliability = bundle.card, Reliability.of(bundle)
        calibration = reliability.calibration if reliability is not None else None
        calibration = None if calibration is None else _of(calibration, card.labels, labels)
        name = "uncalibrated score" if calibration is None else CALIBRATED
        if card.head == "softmax":
            return cls((0.5,) * len(labels), (ARGMAX,) * len(labels), name, calibration, True)
        if calibration is not None and calibration.thresholds:
            own = calibration.thresholds
            return cls(tuple(t.value for t in own), tuple(t.origin for t in own), name, calibration, False)
        same = (card.threshold,) * len(labels), (card.threshold_origin,) * len(labels)
        return cls(*same, name, calibration, False)

    def voted(self) -> "Decisions":
        """For cases whose score is the share of their images that are flagged by these decisions."""
        if self.exclusive:
            return replace(self, score_name=VOTES, calibration=None)
        origins = tuple(
            f"half of the votes, each at {cut:.3f} ({origin})"
            for cut, origin in zip(self.thresholds, self.origins, strict=True)
        )
        return Decisions((0.5,) * len(origins), origins, VOTES, None, False)

    def apply(self, scored: Scored) -> Scored:
        """The same rows with calibrated probabilities, where the bundle was calibrated."""
        if self.calibration is None:
            return scored
        return replace(scored, probabilities=self.calibration.probability(scored.logits))

    def flagged(self, scored: Scored) -> npt.NDArray[np.bool_]:
        """(N, K): what is decided for each row."""
        if self.exclusive:
            one_hot: npt.NDArray[np.bool_] = np.eye(len(scored.labels), dtype=bool)[scored.predicted]
            return one_hot
        return scored.probabilities >= np.array(self.thresholds)


def _of(calibration: Calibration, known: Sequence[str], labels: Sequence[str]) -> Calibration:
    """The calibration of some labels, in their order."""
    order = [known.index(label) for label in labels]
    return replace(
        calibration,
        scale=tuple(calibration.scale[k] for k in order),
        offset=tuple(calibration.offset[k] for k in order),
        prior=tuple(calibration.prior[k] for k in order),
        thresholds=tuple(calibration.thresholds[k] for k in order) if calibration.thresholds else (),
    )
