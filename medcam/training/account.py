"""What happened in a training, as data: the model card is written from it, and the bundle keeps it as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from medcam import __version__
from medcam.data.confounders import Probe
from medcam.data.dataset import LeftOut
from medcam.data.splits import Split
from medcam.evaluation.subgroups import attributes
from medcam.record import Record
from medcam.reliability.calibration import Calibration
from medcam.reliability.conformal import Conformal
from medcam.training.figures import Figures
from medcam.training.fitted import Epoch
from medcam.training.options import Options
from medcam.training.plan import Plan
from medcam.training.settings import Settings

NAME = "docs/training.json"
"""Where a bundle keeps it."""

DESCRIBED = ("licence", "license", "dataset", "source_dataset")
"""More columns whose values are counted, beside those of subgroups."""


@dataclass(frozen=True)
class Data(Record):
    """What was there to learn from. Counts only: no patient, file or path is named."""

    sha256: str
    """Of the manifest."""
    where: Mapping[str, str]
    """Which of its rows were asked for."""
    rows: int
    used: int
    patients: int
    unlabelled: Mapping[str, int]
    """Rows left out because their label is in no group, by raw label."""
    unusable: Mapping[str, int]
    """Rows left out because their file could not be used, by reason."""
    columns: Mapping[str, Mapping[str, int]]
    """Used rows by what the manifest says of licence, dataset, sex, age, view, device and site."""
    members: Mapping[str, tuple[str, ...]]
    """Raw labels that mean each label."""
    negative: tuple[str, ...]
    """Raw labels that mean the absence of a single finding."""
    sides: Mapping[str, Mapping[str, int]]
    """Rows, patients, and patients with each answer, by side."""
    split: str
    seed: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    """Of the leak guard."""


@dataclass(frozen=True)
class Network(Record):
    """What was trained."""

    name: str
    definition: Mapping[str, Any]
    parameters: int
    initial: str
    """Where its first weights came from."""
    transform: str
    transform_options: Mapping[str, Any]
    pooling: str
    """Of a file's frames or tiles; "" where a file is one image."""
    layer: str
    half: bool


@dataclass(frozen=True)
class Account(Record):
    """One training, from the manifest to the figures."""

    pipeline: str
    question: str
    finding: str
    labels: tuple[str, ...]
    data: Data
    shortcuts: tuple[Probe, ...]
    """How well the label is told without looking at the picture."""
    network: Network
    settings: Settings
    precision: str
    history: tuple[Epoch, ...]
    best_epoch: int
    seconds: float
    """Of all epochs."""
    calibration: Calibration
    conformal: Conformal
    support_cases: int
    support_limit: float | None
    figures: Figures
    versions: Mapping[str, str]
    weights_sha256: str
    blobs_sha256: Mapping[str, str]


def data_of(plan: Plan, split: Split, left_out: Sequence[LeftOut], warnings: Sequence[str], options: Options) -> Data:
    """Describe the data without naming anybody."""
    lost = {one.line for one in left_out}
    used = [row for row in plan.rows if row.line not in lost]
    columns = {name: [row.columns[name] for row in used] for name in used[0].columns}
    counted = dict(attributes(columns))
    counted |= {name: [cell.strip() or "not stated" for cell in columns[name]] for name in DESCRIBED if name in columns}
    return Data(
        sha256=plan.data_sha256,
        where=options.where,
        rows=len(plan.manifest.rows),
        used=len(used),
        patients=len({row.patient_id for row in used}),
        unlabelled=plan.unlabelled,
        unusable=Counter(one.code for one in left_out if one.code != "other-label"),
        columns={name: dict(Counter(cells).most_common()) for name, cells in counted.items()},
        members=plan.labelling.members,
        negative=plan.labelling.negative,
        sides=plan.counts(split, lost),
        split=split.how,
        seed=split.seed,
        notes=plan.notes,
        warnings=tuple(warnings),
    )


def versions() -> dict[str, str]:
    """Of what did the work."""
    return {"medcam": __version__, **{name: version(name) for name in ("torch", "monai", "lightning", "numpy")}}
