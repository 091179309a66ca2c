"""Leaks between the sides of a split: a patient on two of them, or two pictures that are nearly the same."""

from collections.abc import Sequence

from medcam.errors import UsageError


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
        message = f"{len(split)} patients are on two sides: {', '.join(split[:10])}{more}; split by patient."
        raise UsageError("patient-leak", message)
