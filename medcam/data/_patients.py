"""Examples to patients: everybody once, with the labels that any of their examples has."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError


@dataclass(frozen=True)
class Patients:
    """P patients in the order of their ids, so that the order of a manifest does not matter."""

    ids: list[str]
    labels: npt.NDArray[np.bool_]
    """(P, L). Of a single finding its absence is a label too: a patient whose patches differ has both."""
    names: list[str]
    """(L,) what to call the labels."""
    images: npt.NDArray[np.intp]
    """(P,) how many examples each has."""

    @classmethod
    def of(cls, patients: Sequence[str], targets: npt.NDArray[np.float32]) -> "Patients":
        """From (N,) patient ids and (N, K) targets of examples."""
        if len(patients) != len(targets):
            raise ValueError(f"{len(patients)} patients for {len(targets)} targets")
        ids, owner, images = np.unique(np.asarray(patients, dtype=str), return_inverse=True, return_counts=True)
        present = targets > 0.5
        names = [f"label {number + 1}" for number in range(present.shape[1])]
        if len(names) == 1:
            present, names = np.concatenate([present, ~present], axis=1), ["the finding", "its absence"]
        labels = np.zeros((len(ids), len(names)), bool)
        np.logical_or.at(labels, owner, present)
        return cls([str(patient) for patient in ids], labels, names, images)

    def refuse_few(self, sides: int) -> None:
        """Refuse what cannot be split into so many sides.

        Raises:
            UsageError: "too-few-patients", a label that only one patient has, or fewer patients than sides.
        """
        counts = self.labels.sum(axis=0).tolist()
        lonely = [name for name, count in zip(self.names, counts, strict=True) if count == 1]
        if lonely:
            message = f"Only one patient has {', '.join(lonely)} and cannot be on two sides; add patients."
            raise UsageError("too-few-patients", message)
        if len(self.ids) < sides:
            message = f"{len(self.ids)} patients cannot be on {sides} sides; take fewer sides or folds."
            raise UsageError("too-few-patients", message)
