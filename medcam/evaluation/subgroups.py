"""The same figures for women and men, young and old, each view and each device: where does the model do worse?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap, Estimate, Values
from medcam.evaluation.classification import Ranked
from medcam.evaluation.performance import difference, proportion
from medcam.record import Record

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "sex": ("sex", "patient_sex", "gender"),
    "age": ("age", "patient_age", "age_years"),
    "view": ("view", "view_or_probe", "view_position", "probe"),
    "device": ("device", "manufacturer", "scanner", "device_model", "station"),
    "site": ("site", "hospital", "centre", "center", "dataset"),
}
"""What is looked at, and the manifest's columns that tell it: the first one that is there."""

BANDS = (18, 40, 60, 80)
"""Years at which age bands begin, after the one from birth."""
FEW = 10
"""Patients of a class below which its figures are not given."""
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Subgroup(Record):
    """One label in one group. A figure is None where one of its classes has fewer than `FEW` patients."""

    label: str
    attribute: str
    group: str
    cases: int
    patients: int
    positive_patients: int
    negative_patients: int
    auroc: Estimate
    sensitivity: Estimate
    """With Wilson's interval."""
    specificity: Estimate
    differences: Mapping[str, Estimate]
    """Of these three: group less all others; of the AUROC by patient bootstrap, else by Newcombe's interval."""
    differs: tuple[str, ...]
    """Figures whose difference has an interval without zero."""
    note: str = ""
    """E.g. "too few"."""


def subgroups(
    label: str,
    targets: npt.ArrayLike,
    scores: npt.ArrayLike,
    flagged: npt.ArrayLike,
    patients: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    bootstrap: Bootstrap,
) -> list[Subgroup]:
    """A row for each group of each attribute that the columns tell, where there are at least two groups.

    Args:
        label: its name.
        targets, scores, flagged, patients: (N,).
        columns: of the manifest, each (N,).
        bootstrap: draws of the patients.
    """
    sick, values = np.asarray(targets).astype(bool), np.asarray(scores, np.float64)
    yes, names = np.asarray(flagged).astype(bool), np.asarray(patients, dtype=str)
    rows = []
    for attribute, groups in attributes(columns).items():
        for group in _ordered(set(groups)):
            inside = np.array([one == group for one in groups])
            rows.append(_subgroup(label, attribute, group, inside, sick, values, yes, names, bootstrap))
    return rows


def attributes(columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The group of each row, by attribute; attributes that are not there or are the same for all rows are left out."""
    lower = {name.strip().casefold(): values for name, values in columns.items()}
    found = {}
    for attribute, names in ATTRIBUTES.items():
        there = [lower[name] for name in names if name in lower]
        if not there:
            continue
        groups = [age_band(cell) if attribute == "age" else cell.strip() or NOT_STATED for cell in there[0]]
        if len(set(groups)) > 1:
            found[attribute] = groups
    return found


def age_band(cell: str) -> str:
    """From "66", "66.5" or DICOM's "066Y", "009M" to a band of years."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*", cell.upper())
    if not match:
        return NOT_STATED
    years = float(match[1]) / {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.0, "D": 365.0}[match[2]]
    if years > 120:  # the de-identified and the mistyped
        return NOT_STATED
    below = [edge for edge in BANDS if years >= edge]
    above = [edge for edge in BANDS if years < edge]
    return f"{below[-1] if below else 0} to {above[0] - 1}" if above else f"{BANDS[-1]} and over"


def _ordered(groups: set[str]) -> list[str]:
    """By first number, as age bands want, then by name; what is not stated comes last."""

    def key(group: str) -> tuple[bool, float, str]:
        number = re.match(r"\d+", group)
        return group == NOT_STATED, float(number[0]) if number else np.inf, group

    return sorted(groups, key=key)


def _subgroup(
    label: str,
    attribute: str,
    group: str,
    inside: npt.NDArray[np.bool_],
    sick: npt.NDArray[np.bool_],
    scores: Values,
    flagged: npt.NDArray[np.bool_],
    patients: npt.NDArray[np.str_],
    bootstrap: Bootstrap,
) -> Subgroup:
    people = len(set(patients[inside]))
    with_sick, with_healthy = set(patients[inside & sick]), set(patients[inside & ~sick])
    enough = {"sensitivity": len(with_sick) >= FEW, "specificity": len(with_healthy) >= FEW}
    shares, differences = {}, {}
    for name, right, of in (("sensitivity", flagged & sick, sick), ("specificity", ~flagged & ~sick, ~sick)):
        mine, others = (_share(right & group, of & group, patients) for group in (inside, ~inside))
        shares[name] = mine if enough[name] else Estimate(None)
        if enough[name] and others.value is not None:
            differences[name] = difference(mine, others)
    auroc = Estimate(None)
    if all(enough.values()):
        measure = Ranked(sick, scores).auroc
        auroc = bootstrap.estimate(lambda weights: measure(weights * inside))
        differences["auroc"] = bootstrap.estimate(lambda w: measure(w * inside) - measure(w * ~inside))
    few = [word for word, them in (("with", with_sick), ("without", with_healthy)) if len(them) < FEW]
    return Subgroup(
        label=label,
        attribute=attribute,
        group=group,
        cases=int(inside.sum()),
        patients=people,
        positive_patients=len(with_sick),
        negative_patients=people - len(with_sick),
        auroc=auroc,
        sensitivity=shares["sensitivity"],
        specificity=shares["specificity"],
        differences=differences,
        differs=tuple(name for name, one in differences.items() if _excludes_zero(one)),
        note=f"fewer than {FEW} patients {' and '.join(few)} it" if few else "",
    )


def _share(right: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_], patients: npt.NDArray[np.str_]) -> Estimate:
    return proportion(int(right.sum()), int(of.sum()), len(set(patients[of])))


def _excludes_zero(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.high is not None and (estimate.low > 0 or estimate.high < 0)
