"""Splits by patient: hold-out, k-fold and nested, stratified by label; and a split's table without its patients."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from medcam.data._patients import Patients
from medcam.data._stratify import stratify
from medcam.data.leak import check
from medcam.data.manifest import Manifest
from medcam.errors import UsageError
from medcam.record import Record

Side = Literal["training", "validation", "calibration", "test"]

SIDES: tuple[Side, ...] = ("training", "validation", "calibration", "test")
SHARES: Mapping[str, float] = {"training": 0.6, "validation": 0.1, "calibration": 0.15, "test": 0.15}
WITHIN: Mapping[str, float] = {"validation": 0.1, "calibration": 0.15}
"""What folds take out of their training patients, as shares of all patients."""

WORDS: Mapping[str, Side] = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("cal", "calib", "calibration"), "calibration"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a manifest's `split` column may say, in any case."""

Targets = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HashedSplit(Record):
    """A split that can be kept with a model: it tells the side of a patient whom one can name, and names nobody.

    The salt is kept with it, so somebody who can list all ids there might be can try them all: it hides the ids from
    who reads a bundle, not from who has the archive.
    """

    salt: str
    sides: Mapping[str, str]
    """Side by the first 16 digits of sha256(salt + patient_id)."""
    seed: int
    how: str

    def side_of(self, patient_id: str) -> str | None:
        """The patient's side; None if the split does not know the patient."""
        return self.sides.get(_hashed(self.salt, patient_id))


@dataclass(frozen=True)
class Split(Record):
    """Which side each patient is on."""

    sides: Mapping[str, str]
    """Side by patient id."""
    seed: int
    how: str
    """In words, e.g. "fold 2 of 5, stratified by label, by patient"."""

    def of(self, patients: Sequence[str]) -> list[str]:
        """The side of each example's patient.

        Raises:
            UsageError: "not-in-split", a patient is on no side.
        """
        missing = sorted({patient for patient in patients if patient not in self.sides})
        if missing:
            message = f"The split knows nothing of {len(missing)} patients ({', '.join(missing[:3])}); split anew."
            raise UsageError("not-in-split", message)
        return [self.sides[patient] for patient in patients]

    def indices(self, patients: Sequence[str]) -> dict[str, npt.NDArray[np.intp]]:
        """For each side the numbers of its examples, of patients as `Images.patients` has them."""
        sides = np.array(self.of(patients))
        return {side: np.flatnonzero(sides == side) for side in SIDES}

    def table(self, salt: str) -> HashedSplit:
        """The split for a model's bundle."""
        return HashedSplit(salt, {_hashed(salt, p): side for p, side in self.sides.items()}, self.seed, self.how)


@dataclass(frozen=True)
class Nested(Record):
    """An outer fold, whose test patients report, and inner folds without them, to choose settings by."""

    outer: Split
    inner: tuple[Split, ...]


def hold_out(patients: Sequence[str], targets: Targets, shares: Mapping[str, float] = SHARES, seed: int = 0) -> Split:
    """One split into sides of these shares, stratified by the labels of patients.

    Args:
        patients: (N,) patient id of each example.
        targets: (N, K) as `Images.targets`; a patient has each label that any of the examples has, and of a single
            label its absence too.
        shares: of the patients, by side; they sum to 1.
        seed: the same seed gives the same split, whatever the order of the examples.

    Raises:
        UsageError: "too-few-patients", a label with one patient, or fewer patients than sides; "bad-shares".
    """
    known = Patients.of(patients, targets)
    known.refuse_few(len(shares))
    unknown = sorted(set(shares) - set(SIDES))
    if unknown or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError("bad-shares", f"Shares of {', '.join(SIDES)} are above 0 and sum to 1; not {dict(shares)}.")
    numbers = stratify(known.labels, list(shares.values()), known.images, seed)
    sides = dict(zip(known.ids, (list(shares)[number] for number in numbers), strict=True))
    words = ", ".join(f"{side} {share:g}" for side, share in shares.items())
    return Split(sides, seed, f"hold-out ({words}), stratified by label, by patient")


def k_fold(
    patients: Sequence[str], targets: Targets, folds: int, seed: int = 0, within: Mapping[str, float] = WITHIN
) -> list[Split]:
    """Splits whose test sides together are all patients, each once.

    Args:
        patients, targets, seed: as for `hold_out`. A class with fewer patients than folds is missing from some tests.
        folds: how many.
        within: sides that each fold takes out of its training patients, as shares of all patients.

    Raises:
        UsageError: "too-few-patients", a label with one patient, or fewer patients than folds; "bad-shares".
    """
    known = Patients.of(patients, targets)
    known.refuse_few(folds)
    if folds < 2:
        raise UsageError("bad-shares", f"{folds} folds leave nothing to train on; take at least 2.")
    numbers = stratify(known.labels, [1 / folds] * folds, known.images, seed)
    made = []
    for fold in range(folds):
        sides = {p: "test" if n == fold else "training" for p, n in zip(known.ids, numbers, strict=True)}
        split = Split(sides, seed, f"fold {fold + 1} of {folds}, stratified by label, by patient")
        made.append(take_out(split, patients, targets, within, seed + fold))
    return made


def nested(patients: Sequence[str], targets: Targets, outer: int = 5, inner: int = 4, seed: int = 0) -> list[Nested]:
    """Outer folds to report, and within each of them inner folds over all but its test patients, to choose by.

    An inner fold's `test` side is what the inner folds compare settings on; its patients are never of the outer test.

    Raises:
        UsageError: as `k_fold`.
    """
    made = []
    for split in k_fold(patients, targets, outer, seed):
        rest = np.flatnonzero(np.array(split.of(patients)) != "test")
        folds = k_fold([patients[i] for i in rest.tolist()], targets[rest], inner, seed)
        made.append(Nested(split, tuple(replace(fold, how=f"inner {fold.how}, of {split.how}") for fold in folds)))
    return made


def take_out(
    split: Split, patients: Sequence[str], targets: Targets, shares: Mapping[str, float] = WITHIN, seed: int = 0
) -> Split:
    """The same split with further sides taken out of its training patients, for example after `from_column`.

    Args:
        shares: of all patients of the split, by side; a side that is there already is left as it is.

    Raises:
        UsageError: "bad-shares", nothing would be left to train on.
    """
    shares = {side: share for side, share in shares.items() if side not in set(split.sides.values())}
    if not shares:
        return split
    rest = np.flatnonzero(np.array(split.of(patients)) == "training")
    known = Patients.of([patients[i] for i in rest.tolist()], targets[rest])
    parts = {side: share * len(split.sides) / len(known.ids) for side, share in shares.items()}
    if sum(parts.values()) >= 1 or min(parts.values()) <= 0 or set(parts) - set(SIDES):
        raise UsageError("bad-shares", f"{dict(shares)} cannot be taken out of {len(known.ids)} training patients.")
    whole = {"training": 1 - sum(parts.values()), **parts}
    if len(known.ids) < len(whole):
        raise UsageError("too-few-patients", f"{len(known.ids)} training patients cannot be on {len(whole)} sides.")
    numbers = stratify(known.labels, list(whole.values()), known.images, seed)
    moved = dict(zip(known.ids, (list(whole)[number] for number in numbers), strict=True))
    return replace(split, sides={**split.sides, **moved})


def from_column(manifest: Manifest) -> Split:
    """The split that the manifest's `split` column states.

    Raises:
        UsageError: "bad-split-column", a word that is no side; "patient-leak", a patient is on two sides.
    """
    bad = [row for row in manifest.rows if row.split.casefold() not in WORDS]
    if bad:
        seen = ", ".join(f"line {row.line}: {row.split or 'nothing'}" for row in bad[:5])
        message = f"The split column says training, validation, calibration or test; {len(bad)} rows do not ({seen})."
        raise UsageError("bad-split-column", message)
    sides = [WORDS[row.split.casefold()] for row in manifest.rows]
    patients = [row.patient_id for row in manifest.rows]
    check(sides, patients)
    return Split(dict(zip(patients, sides, strict=True)), 0, "the manifest's split column, by patient")


def _hashed(salt: str, patient: str) -> str:
    return hashlib.sha256((salt + patient).encode()).hexdigest()[:16]
