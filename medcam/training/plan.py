"""What a training is going to do, known before a single image is decoded: rows, labels, sides, input and network."""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medcam.data.bags import By
from medcam.data.labelling import Labelling
from medcam.data.manifest import Manifest, Row
from medcam.data.splits import SHARES, SIDES, Split, from_column, hold_out, k_fold, take_out
from medcam.errors import UsageError
from medcam.pipeline import Pipeline, shelf
from medcam.reliability.isotonic import refuse_few
from medcam.training.bagging import bag_of, bag_targets
from medcam.training.options import Options
from medcam.transforms import SHELF as TRANSFORMS

FLIPS: Mapping[str, tuple[int, ...]] = {"histology": (0, 1)}
"""Axes that may be mirrored while training, by transform: tissue has no left and right, a patient has."""

FRAMES_PER_SECOND, MOST_FRAMES = 3.0, 30
"""Of a cine, in training as in screening (Born et al., "Accelerating Detection of Lung Pathologies", 2021)."""


@dataclass(frozen=True)
class Plan:
    """A question, the rows that can answer it, and who of them is on which side."""

    name: str
    """Of the pipeline."""
    pipeline: Pipeline
    manifest: Manifest
    """Every row, also those that the labelling leaves out."""
    labelling: Labelling
    rows: tuple[Row, ...]
    """Those that are used."""
    targets: npt.NDArray[np.float32]
    """(N, K) of `rows`; of bags, each row has what its bag has."""
    unlabelled: Mapping[str, int]
    """Rows left out by their label, because it is in no group: how many by raw label."""
    splits: tuple[Split, ...]
    """One, or one for each fold."""
    transform_options: Mapping[str, Any]
    spatial_dims: int
    """Of the network: frames of a cine are looked at in two dimensions."""
    bag: By | None
    """What makes a bag, where the network is taught bags of images."""
    notes: tuple[str, ...]
    """What was decided that nobody asked for."""
    data_sha256: str
    """Of the manifest."""

    @property
    def parts(self) -> Literal["whole", "frames"]:
        """How a row becomes examples."""
        return "frames" if is_cine(self.pipeline) else "whole"

    @property
    def label(self) -> int:
        """Which label the pipeline asks about."""
        return self.labelling.names.index(self.pipeline.finding)

    @property
    def salt(self) -> str:
        """For the hashes that stand for patients: the same table of patients, the same hashes."""
        return self.data_sha256[:16]

    def counts(self, split: Split, lost: Container[int] = ()) -> dict[str, dict[str, int]]:
        """For each side: rows, patients, and for each answer the patients who have it.

        Args:
            split: one of `splits`.
            lost: lines of rows that do not count, because their file could not be used.
        """
        told: dict[str, dict[str, int]] = {}
        for side in SIDES:
            there = [i for i, row in enumerate(self.rows) if row.line not in lost]
            inside = [i for i in there if split.sides[self.rows[i].patient_id] == side]
            told[side] = _counted([self.rows[i].patient_id for i in inside], self.targets[inside], self.labelling)
        return told


def make_plan(name: str, data: Path, options: Options) -> Plan:
    """Read the manifest, understand its labels, split its patients.

    Args:
        name: of a pipeline.
        data: the manifest.
        options: see `Options`.

    Raises:
        UsageError: anything about the manifest, the labels, the split or the network's name that cannot be meant.
    """
    pipeline = shelf().load(name)
    labelling = Labelling.parse(
        pipeline.finding,
        positive=options.positive,
        negative=options.negative,
        classes=options.classes,
        multilabel=options.multilabel,
    )
    if pipeline.finding not in labelling.names:
        message = f"{name} asks about {pipeline.finding!r}, which is none of {', '.join(labelling.names)}"
        raise UsageError("other-finding", f"{message}; give one of the labels that name.")
    bag = bag_of(name, pipeline, options)
    if options.sensitivity is not None and not 0 < options.sensitivity < 1:
        message = f"A sensitivity lies strictly between 0 and 1, not {options.sensitivity}."
        raise UsageError("bad-sensitivity", message)
    if options.initial and not Path(options.initial).is_file():
        raise UsageError("no-weights", f"There is no file {options.initial} to begin with; check --init.")
    manifest = Manifest.read(data, options.where)
    labelling.check(row.label for row in manifest.rows)
    manifest, notes = (manifest, ()) if bag == "exam" else _cases(manifest, labelling)
    found = [(row, labelling.target(row.label)) for row in manifest.rows]
    rows = tuple(row for row, target in found if target is not None)
    if not rows:
        raise UsageError("no-rows", f"No row of {data.name} has a label that is asked for.")
    targets = np.array([target for _, target in found if target is not None], np.float32)
    if bag == "exam":
        targets, notes = bag_targets(rows, targets, exclusive=labelling.head == "softmax")
    plan = Plan(
        name=name,
        pipeline=pipeline,
        manifest=manifest,
        labelling=labelling,
        rows=rows,
        targets=targets,
        unlabelled=Counter(row.label for row, target in found if target is None),
        splits=tuple(_splits(replace(manifest, rows=rows), targets, options)),
        transform_options=_transform_options(pipeline, options.size),
        spatial_dims=3 if "volume" in pipeline.accepts.kinds else 2,
        bag=bag,
        notes=notes,
        data_sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
    )
    for split in plan.splits:
        _refuse_empty(plan, split)
        if options.calibration == "isotonic":
            _refuse_few(plan, split)
    return plan


def _cases(manifest: Manifest, labelling: Labelling) -> tuple[Manifest, tuple[str, ...]]:
    """Where rows of one exam have different answers, as the patches of a slide have, each row is a case of its own."""
    answers: dict[str, set[tuple[float, ...]]] = {}
    for row in manifest.rows:
        target = labelling.target(row.label)
        if target is not None:
            answers.setdefault(row.exam, set()).add(target)
    if all(len(own) == 1 for own in answers.values()):
        return manifest, ()
    alone = tuple(replace(row, exam=row.columns["file"].strip()) for row in manifest.rows)
    note = "rows of one exam have different labels, so every row is a case of its own"
    return replace(manifest, rows=alone), (note,)


def _splits(manifest: Manifest, targets: npt.NDArray[np.float32], options: Options) -> Sequence[Split]:
    patients, seed = [row.patient_id for row in manifest.rows], options.settings.seed
    if options.split_column and options.folds:
        raise UsageError("bad-folds", "Folds make their own sides; leave out --split-column or --folds.")
    if options.folds:
        return k_fold(patients, targets, options.folds, seed, options.within)
    if options.split_column:
        split = take_out(from_column(manifest), patients, targets, seed=seed)
        missing = [side for side in SIDES if side not in split.sides.values()]
        if missing:
            message = f"The split column leaves nobody for {' and '.join(missing)}"
            raise UsageError("bad-split-column", f"{message}; fill it, or leave out --split-column.")
        return [split]
    return [hold_out(patients, targets, SHARES, seed)]


def _refuse_empty(plan: Plan, split: Split) -> None:
    """Every side needs patients with and without the finding: to learn, to choose, to calibrate, to test.

    A fold may test patients of one kind only: figures are of all folds together.
    """
    for side in SIDES[:3] if len(plan.splits) > 1 else SIDES:
        inside = [i for i, row in enumerate(plan.rows) if split.sides[row.patient_id] == side]
        has = plan.targets[inside, plan.label] > 0.5
        for there, words in ((has, "with"), (~has, "without")):
            if not there.any():
                message = f"Nobody {words} {plan.pipeline.finding} is on the {side} side ({split.how})"
                advice = "take fewer folds" if len(plan.splits) > 1 else "say who is where in a column split"
                raise UsageError("too-few-patients", f"{message}; add patients, or {advice}.")


def _refuse_few(plan: Plan, split: Split) -> None:
    """Before hours of training rather than after them: steps need calibration patients enough."""
    inside = [i for i, row in enumerate(plan.rows) if split.sides[row.patient_id] == "calibration"]
    refuse_few(plan.targets[inside], [plan.rows[i].patient_id for i in inside], plan.labelling.names)


def _transform_options(pipeline: Pipeline, size: tuple[int, ...]) -> dict[str, Any]:
    """Options of the transform: the size in the order of its axes, and which frames of a cine."""
    usual = inspect.signature(TRANSFORMS.load(pipeline.transform)).parameters["size"].default
    whole = size * len(usual) if len(size) == 1 else size or usual
    if len(whole) != len(usual) or min(whole) < 1:
        words, given = ("x".join(map(str, numbers)) for numbers in (usual, size))
        raise UsageError("bad-size", f"The transform {pipeline.transform} takes a size like {words}, not {given}.")
    frames = {"frames": MOST_FRAMES, "frames_per_second": FRAMES_PER_SECOND} if is_cine(pipeline) else {}
    return {"size": list(whole), **frames}


def is_cine(pipeline: Pipeline) -> bool:
    """Whether the network looks at frames, which are pooled afterwards."""
    return "cine" in pipeline.accepts.kinds


def _counted(patients: Sequence[str], targets: npt.NDArray[np.float32], labelling: Labelling) -> dict[str, int]:
    counts = {"rows": len(patients), "patients": len(set(patients))}
    for answer, has in answers(targets, labelling).items():
        counts[answer] = len({patient for patient, own in zip(patients, has, strict=True) if own})
    return counts


def answers(targets: npt.NDArray[Any], labelling: Labelling) -> dict[str, npt.NDArray[np.bool_]]:
    """Which rows (N,) have each answer: the labels, and of a single finding its absence too."""
    found = {name: targets[:, k] > 0.5 for k, name in enumerate(labelling.names)}
    if labelling.head == "single-logit":
        found[f"no {labelling.names[0]}"] = targets[:, 0] < 0.5
    return found
