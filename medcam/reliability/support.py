"""Which training cases support a prediction, and what is unlike all of them: SDM (Schmaltz 2025), simplified.

The network's own features are whitened and taken as they are; the paper's trained adaptor, its rescaler and its spread
over runs are left out. Novelty has a guarantee of its own: the conformal quantile, over calibration patients, of the
distance to the nearest training case. Whoever is screened is left out of the training cases first.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from medcam.errors import ModelError
from medcam.findings import Judged, Neighbour
from medcam.record import Arrays, Record
from medcam.reliability.calibration import log_odds
from medcam.reliability.conformal import quantile
from medcam.reliability.sdm import SDM, similarity

if TYPE_CHECKING:
    import torch
    from torch import nn

Values = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]

BLOB = "models/support.safetensors"
"""Where a bundle keeps it."""

NEAREST = 5
"""So many neighbours are named."""
DIRECTIONS = 64
"""At most so many directions of the feature space are kept, of those that hold 99 % of the variance."""


@dataclass(frozen=True)
class Examples:
    """What a network said about images whose truth is known."""

    features: npt.NDArray[Any]
    """(N, D) of `features`, or of `explain`."""
    probabilities: npt.NDArray[Any]
    """(N, K) as screening will state them: calibrated, if it will be."""
    targets: npt.NDArray[Any]
    """(N, K) 0 or 1."""
    patients: Sequence[str]
    files: Sequence[str]


@dataclass(frozen=True)
class Support(Record):
    """Training cases in whitened features, and how calibration images lay among them."""

    mean: npt.NDArray[np.float32]
    basis: npt.NDArray[np.float32]
    """(D,) and (D, M): whitened = (feature - mean) @ basis."""
    cases: npt.NDArray[np.float16]
    """(N, M), whitened."""
    said: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]
    """(N, K): whether the network said that the label is there, and whether it was."""
    patients: npt.NDArray[np.uint64]
    files: npt.NDArray[np.uint64]
    """(N,) hashed with the salt."""
    thresholds: tuple[float, ...]
    """(K,) of the probabilities."""
    layer: str
    """Whose activations the features are."""
    salt: str
    calibrated: tuple[SDM, ...] = ()
    """By label."""
    limit: float | None = None
    """Of the distance to the nearest case; None: too few calibration patients."""

    @classmethod
    def fit(
        cls,
        training: Examples,
        calibration: Examples,
        thresholds: Sequence[float],
        *,
        layer: str,
        salt: str,
        alpha: float = 0.05,
        most: int = 4000,
        seed: int = 0,
    ) -> Self:
        """Learn from what the network was trained on, and from patients it was not.

        Args:
            thresholds: (K,) of the probabilities.
            layer: as `Explained.layer` says it.
            salt: of the bundle's hashed split, so that hashes agree.
            alpha: how many patients like those of the calibration may be called novel.
            most: training cases to keep; of more, equally many of each combination of labels, at random.
        """
        present = np.asarray(training.targets) > 0.5
        kept = _balanced(present, most, seed)
        mean, basis = _whitening(np.asarray(training.features, np.float64)[kept])
        cases = cls(
            mean=mean.astype(np.float32),
            basis=basis.astype(np.float32),
            cases=((training.features[kept] - mean) @ basis).astype(np.float16),
            said=(training.probabilities >= np.asarray(thresholds))[kept],
            present=present[kept],
            patients=np.array([hashed(salt, training.patients[i]) for i in kept], np.uint64),
            files=np.array([hashed(salt, training.files[i]) for i in kept], np.uint64),
            thresholds=tuple(map(float, thresholds)),
            layer=layer,
            salt=salt,
        )
        return cases._calibrate(calibration, alpha)

    def judge(
        self, feature: npt.ArrayLike, probability: float, label: int = 0, *, patient: str | None = None
    ) -> Judged:
        """How training supports what the network says about one image.

        Args:
            feature: (D,).
            probability: of the label, as in `fit`.
            patient: whom it shows, by the same name as in `fit`; every training case of this patient is left out.

        Raises:
            ModelError: "support-features", the feature is of another layer or network.
        """
        odds = self._odds(probability, label)
        distances, order = self._ordered(feature, patient)
        nearest = float(distances[0]) if len(distances) else np.inf
        agrees, known = self._agrees(order, odds >= 0, label), self.calibrated[label]
        q = similarity(agrees)
        return Judged(
            similarity=q,
            distance=known.distance(nearest),
            nearest=nearest,
            limit=self.limit,
            score=known.lower(q, nearest, odds),
            least=known.least,
            novel=self.limit is not None and nearest > self.limit,
            trained_on=len(order) < len(self.cases),
            neighbours=tuple(
                Neighbour(
                    patient=f"{self.patients[i]:016x}",
                    file=f"{self.files[i]:016x}",
                    present=bool(self.present[i, label]),
                    agrees=bool(agree),
                    distance=float(distance),
                )
                for i, agree, distance in zip(order[:NEAREST], agrees, distances, strict=False)
            ),
        )

    def _calibrate(self, calibration: Examples, alpha: float) -> Self:
        found = [self._ordered(h, who) for h, who in zip(calibration.features, calibration.patients, strict=True)]
        nearest = np.array([distances[0] if len(distances) else np.inf for distances, _ in found])
        farthest: dict[str, float] = {}
        for who, distance in zip(calibration.patients, nearest.tolist(), strict=True):
            farthest[who] = max(distance, farthest.get(who, 0.0))
        limit = quantile(list(farthest.values()), alpha)
        learned = []
        for label in range(len(self.thresholds)):
            odds = [self._odds(p, label) for p in calibration.probabilities[:, label]]
            q = [similarity(self._agrees(order, z >= 0, label)) for (_, order), z in zip(found, odds, strict=True)]
            learned.append(SDM.fit(q, nearest, odds, np.asarray(calibration.targets)[:, label] > 0.5))
        return replace(self, calibrated=tuple(learned), limit=float(limit) if np.isfinite(limit) else None)

    def _odds(self, probability: float, label: int) -> float:
        """Log odds, less those of the threshold."""
        return float(log_odds(probability) - log_odds(self.thresholds[label]))

    def _ordered(self, feature: npt.ArrayLike, patient: str | None) -> tuple[Values, Order]:
        """Distances to the training cases of other patients, ascending, and which cases these are."""
        h = np.asarray(feature, np.float64)
        if h.shape != self.mean.shape:
            message = f"The bundle's support holds {len(self.mean)} features of {self.layer}, not {h.shape}."
            raise ModelError("support-features", message)
        distances = np.sqrt(((self.cases - (h - self.mean) @ self.basis) ** 2).sum(axis=1))
        others = np.arange(len(self.cases))
        if patient is not None:
            others = np.flatnonzero(self.patients != hashed(self.salt, patient))
        order = others[np.argsort(distances[others], kind="stable")]
        return distances[order], order

    def _agrees(self, order: Order, yes: bool, label: int) -> npt.NDArray[np.bool_]:
        """Of training cases in this order: the network said the same of them, and was right."""
        said, present = self.said[order, label], self.present[order, label]
        agrees: npt.NDArray[np.bool_] = (said == yes) & (present == yes)
        return agrees

    def to_bytes(self) -> bytes:
        """For the bundle: safetensors, the rest as JSON in its header."""
        from safetensors.numpy import save

        arrays: Arrays = {}
        words = json.dumps(self.to_dict(arrays))
        return save(arrays, {"support": words})

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` gave.

        Raises:
            ModelError: "bundle-support", it is something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            return cls.from_dict(json.loads(header["__metadata__"]["support"]), arrays)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError("bundle-support", f"{BLOB} is damaged ({error}): make the bundle anew.") from error


def features(
    model: "nn.Module", batches: "Iterable[torch.Tensor]", layer: str = "auto"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], str]:
    """Logits (N, K), features (N, D) and the layer's name, of images in batches (B, C, *space).

    A feature is the mean of an activation over cells and frames at the explained layer: the very numbers that `explain`
    gives while it makes a map, so that screening needs no forward pass more.
    """
    from medcam.explainers._features import observe

    seen = [observe(model, x, layer) for x in batches]
    logits = np.concatenate([output.float().cpu().numpy() for output, _, _ in seen])
    pooled = np.concatenate([feature.float().cpu().numpy() for _, feature, _ in seen])
    return logits, pooled, seen[0][2]


def hashed(salt: str, name: str) -> int:
    """The first 64 bits of SHA-256 of salt and name: 16 hexadecimal digits."""
    return int(hashlib.sha256((salt + name).encode(errors="surrogateescape")).hexdigest()[:16], 16)


def _balanced(targets: npt.NDArray[np.bool_], most: int, seed: int) -> Order:
    """At most so many rows, of each combination of labels as equally many as there are; ascending."""
    _, of = np.unique(targets, axis=0, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(of))
    turn = np.empty(len(of), np.intp)
    for group in range(of.max(initial=-1) + 1):
        members = order[of[order] == group]
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn[order], kind="stable")][:most])


def _whitening(h: Values) -> tuple[Values, Values]:
    """Mean (D,) and directions (D, M), scaled so that the cases have unit variance along each."""
    mean = h.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(h, rowvar=False, ddof=0).reshape(len(mean), -1))
    variance, directions = np.maximum(variance[::-1], 0), directions[:, ::-1]
    total = max(float(variance.sum()), 1e-12)
    count = min(int(np.searchsorted(variance.cumsum(), 0.99 * total)) + 1, DIRECTIONS, len(variance))
    return mean, directions[:, :count] / np.sqrt(variance[:count] + 1e-6 * total)
