"""The spread of predictions over networks, parted into what they share and what they disagree about.

Aleatoric doubt is the mean entropy of each network's own prediction; epistemic doubt is the rest of the entropy of
their mean, the mutual information (Houlsby 2011, Gal & Ghahramani 2016, Depeweg 2018). All in nats.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """Of B predictions, each (B,)."""

    entropy: Values
    """Of the mean prediction: aleatoric + epistemic."""
    aleatoric: Values
    epistemic: Values
    spread: Values
    """Standard deviation (ddof 0) of the probability of the mean's top class."""
    variation_ratio: Values
    """Share of the networks whose top class is not the most frequent one."""
    margin: Values
    """Between the two highest mean probabilities."""

    @property
    def confidence(self) -> Values:
        """1 - 2 sigma, as in the lung ultrasound paper (Born 2021)."""
        return 1 - 2 * self.spread


def doubt(probabilities: npt.ArrayLike) -> Doubt:
    """Of T networks, passes or members.

    Args:
        probabilities: (T, B, C) that add up to one over C.
    """
    p = np.asarray(probabilities, np.float64)
    mean = p.mean(axis=0)  # (B, C)
    total, own = _entropy(mean), _entropy(p).mean(axis=0)
    top = mean.argmax(axis=1)
    votes = (p.argmax(axis=2)[:, :, None] == np.arange(p.shape[2])).mean(axis=0)  # (B, C)
    ordered = np.sort(mean, axis=1)
    return Doubt(
        entropy=total,
        aleatoric=own,
        epistemic=np.maximum(total - own, 0),  # rounding can take it below zero
        spread=p[:, np.arange(len(top)), top].std(axis=0),
        variation_ratio=1 - votes.max(axis=1),
        margin=ordered[:, -1] - ordered[:, -2],
    )


def doubt_of_event(probabilities: npt.ArrayLike) -> Doubt:
    """The same of one event that happens or not: (T, B) probabilities of it."""
    p = np.asarray(probabilities, np.float64)
    return doubt(np.stack([1 - p, p], axis=2))


def nested(probabilities: npt.ArrayLike) -> tuple[Values, Values]:
    """Variance (B,) that comes from the networks, and from changes of the image; their sum is the whole.

    Args:
        probabilities: (networks, changes, B).
    """
    p = np.asarray(probabilities, np.float64)
    return p.var(axis=0).mean(axis=0), p.mean(axis=0).var(axis=0)


def _entropy(p: Values) -> Values:
    entropy: Values = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    return entropy
