"""What screening would decide about every series: flagged, not flagged or refer, asked of the same `Judge`."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medcam.data.images import Images
from medcam.data.manifest import Manifest
from medcam.data.wholes import Wholes
from medcam.errors import UsageError
from medcam.evaluation.prediction import outputs
from medcam.findings import Decision, Prediction, Uncertainty, decide
from medcam.models import Bundle
from medcam.models._attention import folded
from medcam.pipeline import Pipeline, shelf
from medcam.progress import Tick
from medcam.reliability.judging import Judge

HEADER = ("line", "file", "patient_id", "label", "target", "score", "threshold", "score_sd", "decision", "why")


@dataclass(frozen=True)
class Series:
    """One label of one file, as screening would answer it."""

    line: int
    file: str
    patient: str
    label: str
    present: bool
    prediction: Prediction
    uncertainty: Uncertainty
    decision: Decision

    @property
    def above(self) -> bool:
        """What the threshold alone says."""
        return self.prediction.score >= self.prediction.threshold


def disturbance(bundle: Bundle) -> str:
    """What the pipeline that the bundle was made for measures doubt by; the usual one where that is not installed."""
    try:
        return shelf().load(bundle.card.pipeline).uncertainty
    except UsageError:
        return Pipeline.uncertainty


def screened(
    bundle: Bundle,
    images: Images,
    manifest: Manifest,
    method: str,
    batch_size: int = 8,
    progress: Tick | None = None,
) -> list[Series]:
    """Ask about every label of every file, each label a question of its own.

    Args:
        bundle: its labels are those of `images.labelling`, or of a sigmoid head some of them.
        images: whole images, cines, volumes or bags of patches, or tiles; not the single frames of a cine.
        manifest: gives lines, files and patients, whose own training cases support nothing.
        method: a member of the uncertainty shelf, or "none".
        batch_size: files that are looked at together.
        progress: called with (files done, files in all).
    """
    judge, chosen = Judge(bundle, method, batch_size=batch_size), outputs(bundle, images.labelling)
    groups = _series(images)
    wholes = isinstance(images, Wholes)
    found: list[Series] = []
    for done, batch in _batches(groups, 1 if wholes else batch_size):
        ask = _bag if wholes and images.by == "exam" else _tiles if len(batch[0]) > 1 else _images
        answers = ask(judge, images, manifest, batch, chosen)
        for group, told in zip(batch, answers, strict=True):
            row, target = manifest.rows[images.rows[group[0]]], images.targets[group[0]]
            for k, (prediction, doubt) in enumerate(told):
                label, file = images.labelling.names[k], row.columns["file"]
                decision = decide(prediction, doubt, demonstration=False)  # of a phantom, what a reader may see
                present = bool(target[k] > 0.5)
                found.append(Series(row.line, file, row.patient_id, label, present, prediction, doubt, decision))
        if progress is not None:
            progress(done, len(groups))
    return found


def write(rows: Sequence[Series], path: Path) -> None:
    """A row per file and label, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        for one in rows:
            score, threshold, sd = one.prediction.score, one.prediction.threshold, one.uncertainty.score_sd
            said = (one.decision.outcome, "; ".join(one.decision.reasons))
            who = (one.line, one.file, one.patient, one.label, int(one.present))
            writer.writerow([*who, score, threshold, "" if sd is None else sd, *said])


Answered = list[tuple[Prediction, Uncertainty]]
"""By label."""


def _images(
    judge: Judge, images: Images, manifest: Manifest, batch: list[npt.NDArray[np.intp]], chosen: list[int]
) -> list[Answered]:
    """Files of one part each, together."""
    x = torch.stack([images[int(group[0])]["image"] for group in batch])
    explained = judge.explain(x.to(judge.bundle.device), chosen[0])
    spreads, features = judge.spreads(explained), judge.features([explained])  # of all labels at once
    answers = []
    for n, group in enumerate(batch):
        feature, patient = None if features is None else features[n : n + 1], _patient(images, manifest, group)
        output, own = explained.output[n : n + 1], spreads[n : n + 1]
        answers.append([(judge.prediction(output, k, feature, patient), judge.doubt(own, k)) for k in chosen])
    return answers


def _tiles(
    judge: Judge, images: Images, manifest: Manifest, batch: list[npt.NDArray[np.intp]], chosen: list[int]
) -> list[Answered]:
    """One slide."""
    (group,) = batch
    x = torch.stack([images[int(i)]["image"] for i in group])
    parts = judge.tiles(x, chosen[0])
    output, features = torch.cat([part.output for part in parts]), judge.features(parts)
    patient = _patient(images, manifest, group)
    return [
        [
            (judge.prediction(output, k, features, patient), judge.doubt(judge.spreads_of_tiles(x, output, k), k))
            for k in chosen
        ]
    ]


def _bag(
    judge: Judge, images: Images, manifest: Manifest, batch: list[npt.NDArray[np.intp]], chosen: list[int]
) -> list[Answered]:
    """The patches of one exam, for a network that attends to them."""
    (group,) = batch
    x = images[int(group[0])]["image"][None].to(judge.bundle.device)  # (1, C, N, H, W)
    (looked,), tiles = judge.look(x), folded(x)
    features, patient = judge.features([], [looked]), _patient(images, manifest, group)
    return [
        [
            (
                judge.prediction(looked.output, k, features, patient, looked),
                judge.doubt(judge.spreads_of_bag(tiles, looked, k), k),
            )
            for k in chosen
        ]
    ]


def _patient(images: Images, manifest: Manifest, group: npt.NDArray[np.intp]) -> str:
    row = manifest.rows[int(images.rows[group[0]])]
    return row.patient_id


def _series(images: Images) -> list[npt.NDArray[np.intp]]:
    """The examples of each file."""
    _, first, counts = np.unique(images.rows, return_index=True, return_counts=True)
    return [np.arange(start, start + count) for start, count in zip(first, counts, strict=True)]


def _batches(groups: list[npt.NDArray[np.intp]], size: int) -> Iterator[tuple[int, list[npt.NDArray[np.intp]]]]:
    """Files of one part in turns, files of several parts alone; with how many are done then."""
    waiting: list[npt.NDArray[np.intp]] = []
    for done, group in enumerate(groups, start=1):
        if len(group) > 1:
            if waiting:
                yield done - 1, waiting
            waiting = []
            yield done, [group]
            continue
        waiting.append(group)
        if len(waiting) == size:
            yield done, waiting
            waiting = []
    if waiting:
        yield len(groups), waiting
