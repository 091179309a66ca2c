"""From logits to probabilities: Platt scaling for each label, one temperature for a softmax (Platt 1999, Guo 2017).

Or isotonic steps, see `isotonic`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.record import Record
from medcam.reliability.isotonic import Steps, refuse_few
from medcam.reliability.thresholds import Threshold

Values = npt.NDArray[np.float64]
T = TypeVar("T")
Head = Literal["single-logit", "sigmoid", "softmax"]
Kind = Literal["scaling", "isotonic"]

BLOB = "configs/calibration.json"
"""Where a bundle keeps it."""

LEAST, MOST = 0.02, 50.0
"""Bounds of the scale, temperatures of 50 and 0.02: order is kept, and data that can be told apart give no infinity."""


@dataclass(frozen=True)
class Calibration(Record):
    """probability = sigmoid(scale x logit + offset), or the softmax of it; K labels in the order of the logits.

    With isotonic steps these take the place of the logits: log odds of the steps' probabilities, of a softmax the
    logarithms of the steps of each class against the others, so that the classes add up to one again.
    """

    head: Head
    scale: tuple[float, ...]
    """(K,) one over the temperature; of a softmax all alike. Above 1 the network was too timid, below 1 too bold."""
    offset: tuple[float, ...]
    """(K,)."""
    prior: tuple[float, ...]
    """(K,) share of the calibration images with the label. A label of which all or none had it could not be fitted: its
    scores stay uncalibrated."""
    patients: int
    images: int
    origin: str = ""
    """Which patients those were, e.g. "120 calibration patients of manifest.csv"."""
    thresholds: tuple[Threshold, ...] = ()
    """(K,) on the scale of the probabilities; empty: the card's threshold, on that scale, holds for all."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What is to be shown beside it, e.g. ECE before and after on other patients."""
    steps: tuple[Steps | None, ...] = ()
    """(K,) of an isotonic calibration; None for a label that could not be fitted. Scores of one step are equal: order
    within it is lost."""

    @property
    def kind(self) -> Kind:
        """How it was fitted."""
        return "isotonic" if self.steps else "scaling"

    def fitted(self, label: int) -> bool:
        """Whether there was anything to learn about this label."""
        return 0 < self.prior[label] < 1

    def of(self, labels: Sequence[int]) -> Self:
        """Of some labels, by number, in that order; of a softmax all of them are needed."""

        def chosen(values: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(values[k] for k in labels) if values else ()

        return replace(
            self,
            scale=chosen(self.scale),
            offset=chosen(self.offset),
            prior=chosen(self.prior),
            thresholds=chosen(self.thresholds),
            steps=chosen(self.steps),
        )

    def probability(self, logits: npt.ArrayLike) -> Values:
        """(..., K) logits to (..., K) probabilities."""
        z = self._stepped(np.asarray(logits, np.float64)) if self.steps else np.asarray(logits, np.float64)
        return probabilities(z * np.array(self.scale) + np.array(self.offset), self.head)

    def _stepped(self, logits: Values) -> Values:
        """(..., K) log odds, of a softmax log probabilities, after the steps."""
        odds = against_others(logits) if self.head == "softmax" else logits
        columns = [
            sigmoid(odds[..., k]) if steps is None else steps.at(odds[..., k]) for k, steps in enumerate(self.steps)
        ]
        p = np.stack(columns, axis=-1)
        return np.log(np.clip(p, 1e-12, 1)) if self.head == "softmax" else log_odds(p)

    def shift_prior(self, prior: Sequence[float]) -> Self:
        """The same for patients among whom the labels are more or less common than among the calibration patients.

        Args:
            prior: (K,) the new shares; only the chance of the labels may differ, not how images of them look.

        Raises:
            UsageError: "bad-prior", a share is not strictly between 0 and 1, or a label was never fitted.
        """
        new, old = np.asarray(prior, np.float64), np.array(self.prior)
        if new.shape != old.shape or not ((new > 0) & (new < 1) & (old > 0) & (old < 1)).all():
            message = f"Give one share strictly between 0 and 1 for each of the {len(old)} labels, not {list(prior)}."
            raise UsageError("bad-prior", message)
        shift = np.log(new) - np.log(old) if self.head == "softmax" else log_odds(new) - log_odds(old)
        offset = tuple((np.array(self.offset) + shift).tolist())
        return replace(self, offset=offset, prior=tuple(new.tolist()), thresholds=())

    def to_bytes(self) -> bytes:
        """For the bundle."""
        return json.dumps(self.to_dict(), indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` gave."""
        return cls.from_dict(json.loads(content))


def fit(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    head: Head,
    *,
    patients: Sequence[str] | None = None,
    origin: str = "",
    kind: Kind = "scaling",
    labels: Sequence[str] = (),
    enough: bool = False,
) -> Calibration:
    """Learn the scale, or steps, from patients who served neither for training nor for stopping it.

    Args:
        logits: (N, K).
        targets: (N, K), 0 or 1.
        head: "softmax" fits one temperature; else each label gets a scale and an offset. Both with smoothed targets.
        patients: (N,) for their number; by default each image is a patient.
        origin: who they are, in words.
        kind: "isotonic" fits steps instead of scale and offset; conformal sets of single labels keep their promise,
            because steps change no order but for ties.
        labels: (K,) names, for messages.
        enough: do not count whether there are patients enough for steps, as in a fold of them.

    Raises:
        UsageError: "one-class", no label is there with and without; "too-few-patients" for steps.
    """
    z, y = (np.asarray(values, np.float64).reshape(len(np.asarray(logits)), -1) for values in (logits, targets))
    prior = y.mean(axis=0)
    usable = (prior > 0) & (prior < 1)
    if not usable.any():
        raise UsageError("one-class", "No label is both present and absent among the calibration patients; add some.")
    scale, offset = np.ones(z.shape[1]), np.zeros(z.shape[1])
    names = [str(n) for n in range(len(z))] if patients is None else list(patients)
    steps: tuple[Steps | None, ...] = ()
    if kind == "isotonic":
        if not enough:
            refuse_few(y, names, labels)
        odds = against_others(z) if head == "softmax" else z
        steps = tuple(Steps.fit(odds[:, k], y[:, k]) if usable[k] else None for k in range(z.shape[1]))
    elif head == "softmax":
        scale[:] = _temperature(z, y)
    else:
        for k in np.flatnonzero(usable):
            scale[k], offset[k] = _platt(z[:, k], y[:, k])
    count = len(set(names))
    return Calibration(
        head=head,
        scale=tuple(scale.tolist()),
        offset=tuple(offset.tolist()),
        prior=tuple(prior.tolist()),
        patients=count,
        images=len(z),
        origin=origin or f"{count} calibration patients",
        steps=steps,
    )


def probabilities(logits: npt.ArrayLike, head: Head) -> Values:
    """(..., K) logits to (..., K) probabilities as the head means them, without calibration."""
    z = np.asarray(logits, np.float64)
    if head == "softmax":
        p = np.exp(z - z.max(axis=-1, keepdims=True))
        softmax: Values = p / p.sum(axis=-1, keepdims=True)
        return softmax
    return sigmoid(z)


def against_others(logits: npt.ArrayLike) -> Values:
    """(..., K) logits of a softmax to the log odds of each class against all others, exact where these are sure."""
    z = np.asarray(logits, np.float64)
    others = np.where(np.eye(z.shape[-1], dtype=bool), -np.inf, z[..., None, :])  # (..., K, K): a row for each class
    most = others.max(axis=-1, keepdims=True)
    odds: Values = z - (most[..., 0] + np.log(np.exp(others - most).sum(axis=-1)))
    return odds


def sigmoid(z: npt.ArrayLike) -> Values:
    """1 / (1 + exp(-z)) without overflow."""
    small = np.exp(-np.abs(np.asarray(z, np.float64)))
    p: Values = np.where(np.asarray(z) >= 0, 1, small) / (1 + small)
    return p


def log_odds(p: npt.ArrayLike) -> Values:
    """ln(p / (1 - p)), finite at 0 and 1."""
    inside = np.clip(np.asarray(p, np.float64), 1e-12, 1 - 1e-12)
    odds: Values = np.log(inside) - np.log1p(-inside)
    return odds


def _temperature(z: Values, y: Values) -> float:
    """The scale where the slope of the NLL, which rises with the scale, is zero (Guo et al. 2017).

    Targets are smoothed as Platt's are: a class seen n times is never sure beyond (n + 1) / (n + K), so that a few
    images that are all right do not make every answer certain.
    """
    count, classes = y @ y.sum(axis=0), y.shape[1]
    soft = (y * count[:, None] + 1) / (count[:, None] + classes)
    low, high = np.log(LEAST), np.log(MOST)
    for _ in range(60):
        middle = (low + high) / 2
        slope = ((probabilities(np.exp(middle) * z, "softmax") - soft) * z).sum(axis=1).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp((low + high) / 2))


def _platt(z: Values, y: Values) -> tuple[float, float]:
    """Scale and offset by Newton's method on the convex NLL of smoothed targets (Platt 1999, Lin et al. 2007)."""
    positives, negatives = y.sum(), (1 - y).sum()
    smooth = np.where(y > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    free = _newton(np.stack([z, np.ones_like(z)], axis=1), smooth, np.zeros_like(z))
    scale = float(np.clip(free[0], LEAST, MOST))
    if scale == free[0]:
        return scale, float(free[1])
    (offset,) = _newton(np.ones((len(z), 1)), smooth, scale * z)
    return scale, float(offset)


def _newton(columns: Values, y: Values, fixed: Values) -> Values:
    """Weights w (P,) that minimise the NLL of sigmoid(columns w + fixed) against soft targets."""

    def loss(w: Values) -> float:
        logits = columns @ w + fixed
        return float((np.logaddexp(0, logits) - y * logits).mean())

    w, ridge = np.zeros(columns.shape[1]), 1e-10 * np.eye(columns.shape[1])
    for _ in range(100):
        p = sigmoid(columns @ w + fixed)
        gradient = columns.T @ (p - y) / len(y)
        hessian = (columns * (p * (1 - p))[:, None]).T @ columns / len(y)
        step = np.linalg.solve(hessian + ridge, gradient)
        length = 1.0
        while length > 1e-8 and loss(w - length * step) > loss(w):
            length /= 2
        w = w - length * step
        if np.abs(length * step).max() < 1e-10:
            break
    return w
