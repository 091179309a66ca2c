"""Which patients of a manifest may be evaluated on: those of the wanted side that the bundle never learned from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from medcam.data.manifest import Manifest, Row
from medcam.data.splits import WORDS, HashedSplit
from medcam.errors import UsageError
from medcam.models import Bundle
from medcam.record import Record

SPLIT = "configs/split.json"
"""The blob in which a bundle keeps who was on which side, hashed."""
UNSEEN = ("test", None)
"""Sides of patients that a bundle did not learn from: kept for testing, or unknown to it."""


@dataclass(frozen=True)
class Cohort(Record):
    """Who was asked for, and who of them was left out before any image was read."""

    manifest: str
    """Its file name."""
    where: Mapping[str, str]
    """Cells that rows had to have."""
    side: str
    """The side that was asked for; "" for all."""
    rows: int
    """Rows of the manifest that fit."""
    patients: int
    known_patients: Mapping[str, int]
    """Patients that the bundle learned from and that were left out, by side."""
    split: str
    """How the bundle's own split was made; "" if it does not say on whom it was trained."""

    @property
    def left_out(self) -> int:
        """Patients that were left out."""
        return sum(self.known_patients.values())


def cohort(
    manifest: Manifest, bundles: list[Bundle], side: str = "", where: Mapping[str, str] | None = None
) -> tuple[Manifest, Cohort]:
    """The rows to evaluate on.

    Args:
        manifest: already filtered by `where`.
        bundles: each leaves out the patients it learned from; the first one's split is described.
        side: "", or a side of the manifest's split column; where it has none, of the first bundle's own split.
        where: only to be told again.

    Raises:
        UsageError: "patient-leak", every patient was learned from; "bad-split", no row is on that side.
    """
    tables = [table(bundle) for bundle in bundles]
    rows = _on_side(manifest.rows, side, tables[0])
    known: dict[str, str] = {}
    for row in rows:
        sides = [one.side_of(row.patient_id) for one in tables if one is not None]
        learned = [str(one) for one in sides if one not in UNSEEN]
        if learned:
            known[row.patient_id] = learned[0]
    kept = tuple(row for row in rows if row.patient_id not in known)
    if not kept:
        message = f"The model learned from every one of the {len(known)} patients; evaluate it on others."
        raise UsageError("patient-leak", message)
    counts = {side: list(known.values()).count(side) for side in sorted(set(known.values()))}
    told = Cohort(
        manifest=manifest.path.name,
        where=dict(where or {}),
        side=side,
        rows=len(rows),
        patients=len({row.patient_id for row in rows}),
        known_patients=counts,
        split=tables[0].how if tables[0] is not None else "",
    )
    return replace(manifest, rows=kept), told


def table(bundle: Bundle) -> HashedSplit | None:
    """The bundle's split; None if it has none."""
    content = bundle.blob(SPLIT)
    return None if content is None else HashedSplit.from_dict(json.loads(content))


def _on_side(rows: tuple[Row, ...], side: str, own: HashedSplit | None) -> tuple[Row, ...]:
    if not side:
        return rows
    if side.casefold() not in WORDS:
        raise UsageError("bad-split", f"--split is training, validation, calibration or test, not {side!r}.")
    wanted = WORDS[side.casefold()]
    if any(row.split for row in rows):
        kept = tuple(row for row in rows if WORDS.get(row.split.casefold()) == wanted)
    elif own is not None:
        kept = tuple(row for row in rows if own.side_of(row.patient_id) == wanted)
    else:
        raise UsageError("bad-split", "Neither the manifest nor the bundle has a split; leave --split out.")
    if not kept:
        raise UsageError("bad-split", f"No row of the manifest is on the side {wanted!r}.")
    return kept
