"""Leaks between the sides of a split: a patient on two of them, or two pictures that are nearly the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medcam.errors import UsageError
from medcam.record import Record

if TYPE_CHECKING:
    from medcam.data._pack import Source
    from medcam.data.images import Images

MOST_BITS = 8
LEAST_CORRELATION = 0.95
"""Of thumbnails. Of 650,000 pairs of chest X-rays of different people 3 are within both limits, look-alikes that a
person has to judge; clips of one ultrasound examination reach 0.96 to 0.98."""

THUMBNAIL = (32, 32)
BLOCK = 1024
"""Pictures compared with all others at once."""

Floats = npt.NDArray[np.float32]


def check(sides: Sequence[str], patients: Sequence[str]) -> None:
    """Refuse a split that has a patient on two sides.

    Args:
        sides: (N,) side of each example.
        patients: (N,) patient of each example.

    Raises:
        UsageError: "patient-leak", naming the patients.
    """
    found: dict[str, set[str]] = {}
    for side, patient in zip(sides, patients, strict=True):
        found.setdefault(patient, set()).add(side)
    split = [f"{patient} ({', '.join(sorted(on))})" for patient, on in sorted(found.items()) if len(on) > 1]
    if split:
        more = f" and {len(split) - 10} more" if len(split) > 10 else ""
        count = f"{len(split)} patients are" if len(split) > 1 else "One patient is"
        message = f"{count} on two sides of the split: {', '.join(split[:10])}{more}; split by patient."
        raise UsageError("patient-leak", message)


def check_headers(patients: Sequence[str], sources: Sequence[Source]) -> None:
    """Refuse patients who are one person in the headers of their files.

    Headers agree if they name the same study, or the same PatientID with the same birth date and sex; an id that more
    than half of the patients share stands for nobody.

    Args:
        patients: (N,) patient of each example.
        sources: (N,) what is known of its file; or empty.

    Raises:
        UsageError: "one-person", naming the patients.
    """
    found: dict[str, set[str]] = {}
    for patient, source in zip(patients, sources, strict=bool(sources)):
        for mark in filter(None, (source.person and f"person {source.person}", source.study)):
            found.setdefault(mark, set()).add(patient)
    most = max(len(set(patients)) / 2, 2)
    groups = {tuple(sorted(g)) for mark, g in found.items() if len(g) > 1 and (len(g) <= most or " " not in mark)}
    if groups:
        told = "; ".join(" = ".join(group[:5]) for group in sorted(groups)[:10])
        message = f"{len(groups)} people have more than one patient_id, by their files' headers: {told}; give them one."
        raise UsageError("one-person", message)


@dataclass(frozen=True)
class Pair(Record):
    """Two exams on different sides that have a picture nearly in common."""

    exams: tuple[str, str]
    sides: tuple[str, str]
    indices: tuple[int, int]
    """The most alike two of their pictures, as places in the images."""
    bits: int
    """Hamming distance of their hashes, of 64."""
    correlation: float
    """Of their thumbnails."""

    def __str__(self) -> str:
        (one, other), (here, there) = self.exams, self.sides
        likeness = f"{self.bits} of 64 bits apart, correlation {self.correlation:.3f}"
        return f"{one} ({here}) and {other} ({there}) look nearly the same: {likeness}"


def near_identical(
    images: Images, sides: Sequence[str], *, bits: int = MOST_BITS, correlation: float = LEAST_CORRELATION
) -> tuple[Pair, ...]:
    """Exams on different sides with a picture that is nearly the same, the most alike first: a reason to look at them.

    Two pictures count if their difference hashes (8 rows of 8 comparisons between neighbours) are at most `bits` apart
    and their thumbnails, which tell look-alikes apart better, correlate at least so well. Copies in another size,
    format or brightness are found; turned, mirrored or cropped ones are not. Of a volume or cine the middle plane is
    compared.

    Args:
        images: N of them; all pairs are compared, a billion in a quarter of a minute.
        sides: (N,) side of each; or `images.patients`, to look for one person under two names.
    """
    thumbnails, hashes = _seen(images)
    names, side = np.unique(np.asarray(sides, dtype=str), return_inverse=True)
    best: dict[tuple[str, str], Pair] = {}
    for one, other, apart, like in _alike(thumbnails, hashes, side, bits, correlation):
        exams, on = (images.exams[one], images.exams[other]), (str(names[side[one]]), str(names[side[other]]))
        key = (min(exams), max(exams))
        if key not in best or like > best[key].correlation:
            best[key] = Pair(exams, on, (one, other), apart, like)
    return tuple(sorted(best.values(), key=lambda pair: -pair.correlation))


def _alike(
    thumbnails: Floats, hashes: npt.NDArray[np.uint64], side: npt.NDArray[np.intp], bits: int, correlation: float
) -> Iterator[tuple[int, int, int, float]]:
    """Pairs (i, j) with i < j on different sides, how many bits they are apart and how they correlate."""
    for start in range(0, len(hashes), BLOCK):
        here = slice(start, start + BLOCK)
        apart = np.bitwise_count(hashes[here, None] ^ hashes[None, start:])  # (b, N - start)
        apart[side[here, None] == side[None, start:]] = 64
        rows, columns = np.nonzero(apart <= bits)
        later = columns > rows  # both are counted from `start`
        rows, columns = rows[later], columns[later]
        for chunk in range(0, len(rows), BLOCK * 64):
            i, j = rows[chunk : chunk + BLOCK * 64], columns[chunk : chunk + BLOCK * 64]
            like = np.einsum("nk,nk->n", thumbnails[start + i], thumbnails[start + j])
            for n in np.flatnonzero(like >= correlation).tolist():
                yield int(start + i[n]), int(start + j[n]), int(apart[i[n], j[n]]), float(like[n])


def _seen(images: Images) -> tuple[Floats, npt.NDArray[np.uint64]]:
    """Thumbnails (N, 1024) of mean 0 and length 1, so that products are correlations; and hashes (N,) of 64 bits."""
    from torch.nn.functional import adaptive_avg_pool2d

    thumbnails = np.zeros((len(images), THUMBNAIL[0] * THUMBNAIL[1]), np.float32)
    bits = np.zeros((len(images), 64), bool)
    for index in range(len(images)):
        plane = images.pixels(index).mean(0, keepdim=True)  # (1, *space)
        plane = plane[:, plane.shape[1] // 2] if plane.ndim == 4 else plane  # (1, H, W)
        small = adaptive_avg_pool2d(plane, THUMBNAIL).flatten().numpy()
        small = small - small.mean()
        length = float(np.linalg.norm(small))
        thumbnails[index] = small / length if length > 1e-4 * len(small) ** 0.5 else 0  # blank ones are like no other
        steps = adaptive_avg_pool2d(plane, (8, 9))[0].numpy()
        bits[index] = (steps[:, 1:] > steps[:, :-1]).ravel()
    return thumbnails, np.packbits(bits, axis=1).view(np.uint64)[:, 0]
