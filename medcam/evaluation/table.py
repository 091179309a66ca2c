"""`Scored`: what a model said beside what is true, a row per image, frame, exam or patient. All figures start here."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError

Values = npt.NDArray[np.float64]
Head = Literal["single-logit", "sigmoid", "softmax"]

_OWN = ("file", "patient_id", "exam", "part")
_NUMBERS = ("target", "logit", "probability")


@dataclass(frozen=True)
class Scored:
    """N rows and K labels; everything is aligned along the rows.

    Raises:
        ValueError: lengths differ, a number is not finite, a target is not in [0, 1], or the head does not fit K.
    """

    labels: tuple[str, ...]
    head: Head
    logits: Values
    """(N, K): log odds of each label; with a softmax head log probabilities up to a constant per row."""
    probabilities: Values
    """(N, K): what is ranked and cut. With a softmax head rows add up to one."""
    targets: Values
    """(N, K): 1 where the label is true, else 0."""
    patients: tuple[str, ...]
    exams: tuple[str, ...]
    """Rows of one exam are pooled by `aggregate`."""
    files: tuple[str, ...]
    parts: tuple[int, ...]
    """Number of the frame or tile within its file."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """More of the manifest: sex, age, view, device."""

    def __post_init__(self) -> None:
        rows, names = len(self.patients), len(self.labels)
        arrays = (self.logits, self.probabilities, self.targets)
        if any(array.shape != (rows, names) for array in arrays):
            raise ValueError(f"arrays of shapes {[a.shape for a in arrays]} for {rows} rows and {names} labels")
        if any(len(column) != rows for column in (self.exams, self.files, self.parts, *self.columns.values())):
            raise ValueError(f"a column has not {rows} rows")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("a logit, probability or target is not finite")
        if rows and (min(a.min() for a in arrays[1:]) < 0 or max(a.max() for a in arrays[1:]) > 1 + 1e-9):
            raise ValueError("a probability or target is not in [0, 1]")
        if (self.head == "single-logit") != (names == 1):
            raise ValueError(f"a {self.head} head has not {names} label(s)")

    @classmethod
    def of(
        cls,
        logits: npt.ArrayLike,
        targets: npt.ArrayLike,
        patients: Sequence[str],
        labels: Sequence[str],
        head: Head,
        *,
        exams: Sequence[str] | None = None,
        files: Sequence[str] | None = None,
        parts: Sequence[int] | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
        probabilities: npt.ArrayLike | None = None,
    ) -> Self:
        """From a network's output.

        Args:
            logits: (N, K), or (N,) of a single-logit head.
            targets: of the same shape, 0 or 1.
            patients: (N,) whom each row shows.
            labels: (K,) names in the order of the logits.
            head: what the logits mean.
            exams, files: (N,) by default every row is an exam and an image of its own.
            parts, columns: the number within the image, and what else is known.
            probabilities: (N, K) calibrated ones; by default those the head means.
        """
        rows = len(patients)
        own = tuple(f"row {row}" for row in range(rows))
        z = np.asarray(logits, np.float64).reshape(rows, len(labels))
        if not np.isfinite(z).all():
            raise ValueError("a logit is not finite")
        p = probability(z, head) if probabilities is None else np.asarray(probabilities, np.float64)
        return cls(
            labels=tuple(labels),
            head=head,
            logits=z,
            probabilities=p.reshape(rows, len(labels)),
            targets=np.asarray(targets, np.float64).reshape(rows, len(labels)),
            patients=tuple(patients),
            exams=own if exams is None else tuple(exams),
            files=own if files is None else tuple(files),
            parts=tuple(parts) if parts is not None else (0,) * rows,
            columns={name: tuple(values) for name, values in (columns or {}).items()},
        )

    def __len__(self) -> int:
        return len(self.patients)

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """(N,): the most probable label of each row; means something for a softmax head."""
        best: npt.NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return best

    def subset(self, rows: npt.ArrayLike) -> Self:
        """Rows by index, in that order, or by a mask (N,)."""
        chosen = np.asarray(rows)
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.intp)
        return replace(
            self,
            logits=self.logits[index],
            probabilities=self.probabilities[index],
            targets=self.targets[index],
            patients=tuple(self.patients[i] for i in index),
            exams=tuple(self.exams[i] for i in index),
            files=tuple(self.files[i] for i in index),
            parts=tuple(self.parts[i] for i in index),
            columns={name: tuple(values[i] for i in index) for name, values in self.columns.items()},
        )

    def write(self, path: Path) -> None:
        """As CSV: file, patient_id, exam, part; "target LABEL", "logit LABEL", "probability LABEL"; other columns."""
        more = [name for name in self.columns if name not in _OWN]
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow([*_OWN, *(f"{what} {label}" for what in _NUMBERS for label in self.labels), *more])
            numbers = np.concatenate([self.targets, self.logits, self.probabilities], axis=1).tolist()
            own = zip(self.files, self.patients, self.exams, self.parts, strict=True)
            for row, (first, values) in enumerate(zip(own, numbers, strict=True)):
                writer.writerow([*first, *values, *(self.columns[name][row] for name in more)])

    @classmethod
    def read(cls, path: Path, head: Head) -> Self:
        """The table that `write` wrote.

        Raises:
            UsageError: "scored-table", it is not such a table.
        """
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                names = list(reader.fieldnames or ())
                rows = list(reader)
            labels = [name.removeprefix("target ") for name in names if name.startswith("target ")]
            target, logit, p = ([[float(row[f"{w} {name}"]) for name in labels] for row in rows] for w in _NUMBERS)
            numbers = {f"{what} {name}" for what in _NUMBERS for name in labels}
            return cls.of(
                logit,
                target,
                [row["patient_id"] for row in rows],
                labels,
                head,
                exams=[row["exam"] for row in rows],
                files=[row["file"] for row in rows],
                parts=[int(row["part"]) for row in rows],
                columns={n: [row[n] for row in rows] for n in names if n not in numbers and n not in _OWN},
                probabilities=p,
            )
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise UsageError(
                "scored-table", f"{path} is no table of predictions as medcam writes them: {error}."
            ) from error


def probability(logits: Values, head: Head) -> Values:
    """(N, K) probabilities that a head's logits mean, without overflow."""
    return np.exp(log_probability(logits, head))


def log_probability(logits: Values, head: Head) -> Values:
    """(N, K) natural logarithms of the probabilities, exact where these round to 0 or 1."""
    if head == "softmax":
        shifted = logits - logits.max(axis=1, keepdims=True)
        normalised: Values = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return normalised
    return -np.logaddexp(0.0, -logits)
