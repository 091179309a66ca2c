"""What a bundle's calibration patients and training cases say about one prediction: the blobs, read and applied."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from medcam.errors import ModelError
from medcam.findings import Prediction, Uncertainty
from medcam.reliability import calibration, conformal, maps, support
from medcam.reliability.calibration import Calibration, Head, probabilities
from medcam.reliability.conformal import Conformal
from medcam.reliability.entropy import doubt_of_event
from medcam.reliability.support import Support

if TYPE_CHECKING:
    from medcam.models import Bundle

Values = npt.NDArray[np.float64]

CALIBRATED = "calibrated probability"


@dataclass(frozen=True)
class Reliability:
    """The rule by which a bundle decides, and any of three parts; a part that is not there changes nothing."""

    head: Head
    calibration: Calibration | None = None
    conformal: Conformal | None = None
    support: Support | None = None
    threshold: float = 0.5
    """Of the card: of every label whose calibration has none of its own."""
    threshold_origin: str = ""

    @classmethod
    def of(cls, bundle: "Bundle") -> Self:
        """What the bundle holds.

        Raises:
            ModelError: "bundle-reliability", a blob is damaged or made for other labels.
        """
        scale, sets, cases = (bundle.blob(name) for name in (calibration.BLOB, conformal.BLOB, support.BLOB))
        labels = len(bundle.card.labels)
        try:
            whole = cls(
                head=bundle.card.head,
                calibration=None if scale is None else Calibration.from_bytes(scale),
                conformal=None if sets is None else Conformal.from_bytes(sets),
                support=None if cases is None else Support.from_bytes(cases),
                threshold=bundle.card.threshold,
                threshold_origin=bundle.card.threshold_origin,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError("bundle-reliability", f"{bundle.folder} is damaged ({error}); make it anew.") from error
        counts = [
            *([] if whole.calibration is None else [len(whole.calibration.scale)]),
            *([] if whole.calibration is None or not whole.calibration.steps else [len(whole.calibration.steps)]),
            *([] if whole.conformal is None else [len(whole.conformal.labels)]),
            *([] if whole.support is None else [len(whole.support.thresholds)]),
        ]
        if any(count != labels for count in counts):
            message = f"{bundle.folder} was calibrated for {counts} labels and has {labels}; make it anew."
            raise ModelError("bundle-reliability", message)
        return whole

    def probability(self, logits: npt.ArrayLike) -> Values:
        """(..., K) logits to (..., K) scores in [0, 1], calibrated where the bundle can."""
        return self.calibration.probability(logits) if self.calibration else probabilities(logits, self.head)

    def cut(self, label: int) -> tuple[float, str]:
        """The threshold of a label's score and where it came from; of a softmax too each label has its own."""
        if self.calibration is None or not self.calibration.thresholds:
            return self.threshold, self.threshold_origin
        own = self.calibration.thresholds[label]
        return own.value, own.origin

    def judged(
        self,
        prediction: Prediction,
        logits: npt.ArrayLike,
        label: int,
        *,
        parts: npt.ArrayLike | None = None,
        feature: npt.ArrayLike | None = None,
        patient: str | None = None,
    ) -> Prediction:
        """The prediction on the calibrated scale, with its conformal set and its support.

        Args:
            prediction: of the network as it is.
            logits: (K,) of the image, or pooled over its parts.
            label: which is asked about.
            parts: (N, K) of the tiles that were pooled.
            feature: (D,) of the image, or of its highest part.
            patient: whom it shows, if that is known.
        """
        probability = self.probability(logits)
        if self.calibration is not None:
            threshold, origin = self.cut(label)
            name = CALIBRATED if self.calibration.fitted(label) else prediction.score_name
            prediction = replace(
                prediction,
                score=float(probability[label]),
                score_name=name,
                threshold=threshold,
                threshold_origin=origin,
            )
            if prediction.part_scores and parts is not None:
                prediction = replace(prediction, part_scores=tuple(self.probability(parts)[:, label].tolist()))
        if self.conformal is not None:
            prediction = replace(prediction, conformal_set=self.conformal.set_of(probability, label))
        if self.support is not None and feature is not None:
            judged = self.support.judge(feature, float(probability[label]), label, patient=patient)
            prediction = replace(prediction, support=judged)
        return prediction


def uncertainty(
    method: str, scores: Mapping[str, float], *, networks: bool, cells: npt.NDArray[np.float32] | None = None
) -> Uncertainty:
    """How far scores move, and whether maps do.

    Args:
        scores: by name of the member.
        networks: members are networks, so that their doubt can be parted; else they are changes of the image.
        cells: (members, *cells) evidence of each, NaN where it saw nothing.
    """
    values = np.array(list(scores.values()))
    agreement = None if cells is None else maps.overlap(maps.scaled(cells))
    found = Uncertainty(method, dict(scores), float(values.std()), map_agreement=agreement)
    if not networks:
        return found
    parted = doubt_of_event(values[:, None])
    entropy, aleatoric, epistemic = (float(part[0]) for part in (parted.entropy, parted.aleatoric, parted.epistemic))
    return replace(found, entropy=entropy, aleatoric=aleatoric, epistemic=epistemic)
