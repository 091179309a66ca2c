"""From a bundle's logits to probabilities and decisions over whole tables, by the rule that screening decides by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medcam.evaluation.table import Scored
from medcam.models import Bundle
from medcam.reliability.apply import CALIBRATED, Reliability
from medcam.reliability.calibration import Calibration

VOTES = "share of votes"


@dataclass(frozen=True)
class Decisions:
    """What a bundle says about scores. Each label is a question of its own, also where classes exclude each other."""

    thresholds: tuple[float, ...]
    """(K,) of the probabilities."""
    origins: tuple[str, ...]
    """(K,) how each was chosen."""
    score_name: str
    calibration: Calibration | None

    @classmethod
    def of(cls, bundle: Bundle, labels: Sequence[str]) -> "Decisions":
        """As the bundle decides, for these of its labels in this order; a single label may have another name."""
        card, reliability = bundle.card, Reliability.of(bundle)
        order = [0] if len(card.labels) == 1 else [card.labels.index(label) for label in labels]
        values, origins = zip(*(reliability.cut(k) for k in order), strict=True)
        learned = reliability.calibration
        name = "uncalibrated score" if learned is None else CALIBRATED
        return cls(values, origins, name, None if learned is None else learned.of(order))

    def voted(self, exclusive: bool = False) -> "Decisions":
        """For cases whose score is the share of their images that are flagged by these decisions.

        Args:
            exclusive: of a softmax, whose images vote for their most probable class instead.
        """
        each = [f"at {cut:.3f} ({origin})" for cut, origin in zip(self.thresholds, self.origins, strict=True)]
        votes = ["for the most probable class"] * len(each) if exclusive else each
        return Decisions((0.5,) * len(each), tuple(f"half of the votes, each {vote}" for vote in votes), VOTES, None)

    def apply(self, scored: Scored) -> Scored:
        """The same rows with calibrated probabilities, where the bundle was calibrated."""
        if self.calibration is None:
            return scored
        return replace(scored, probabilities=self.calibration.probability(scored.logits))

    def flagged(self, scored: Scored) -> npt.NDArray[np.bool_]:
        """(N, K): what is decided for each row and label."""
        return scored.probabilities >= np.array(self.thresholds)
