"""Shortcuts: how well size, brightness or where an image comes from tell its label, without looking at the picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medcam.data.images import Images
from medcam.data.manifest import Manifest
from medcam.data.splits import k_fold
from medcam.record import Record

ORIGINS = (
    "view", "view_or_probe", "device", "manufacturer", "model", "scanner", "site", "hospital", "dataset", "pool",
    "modality", "codec", "fps",
)  # fmt: skip
"""Columns of a manifest that say how or where an image was made."""

MOST_WORDS = 50
"""A column with more different cells than this names images rather than their origin."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Probe(Record):
    """How well one kind of shortcut tells one label."""

    label: str
    shortcut: str
    """"size", "brightness", a column of the manifest, or "all" of them together."""
    auroc: float
    """Of files of patients that the probe has not seen."""
    interval: tuple[float, float]
    """95 %, as of independent patients (Hanley & McNeil, 1982)."""

    @property
    def tells(self) -> bool:
        """Whether the shortcut alone tells the label better than chance."""
        return self.interval[0] > 0.5

    def __str__(self) -> str:
        low, high = self.interval
        tell = "all shortcuts together tell" if self.shortcut == "all" else f"{self.shortcut} alone tells"
        return f"{tell} {self.label} with AUROC {self.auroc:.2f} ({low:.2f} to {high:.2f})"


def probe(
    images: Images, manifest: Manifest, columns: Sequence[str] | None = None, folds: int = 5, seed: int = 0
) -> tuple[Probe, ...]:
    """Logistic regression from shortcuts to each label, cross-validated by patient: a warning before any training.

    Args:
        images: as loaded from `manifest`; each file counts once, however many frames or tiles it has.
        columns: of the manifest; those of `ORIGINS` that are there, if None.
        folds: fewer where a label has fewer patients; a label with one patient is left out.

    Returns:
        For each label one probe of each shortcut that differs between files, and one of all together.
    """
    first = np.unique(images.rows, return_index=True)[1]  # one example of each file
    patients = [images.patients[i] for i in first.tolist()]
    features = _features(images, manifest, first, columns)
    if len(features) > 1:
        features["all"] = np.concatenate(list(features.values()), axis=1)
    probes = []
    for name, truth in zip(images.labelling.names, images.targets[first].T > 0.5, strict=True):
        have = [len({p for p, is_one in zip(patients, truth, strict=True) if is_one == one}) for one in (False, True)]
        if min(have) < 2:
            continue
        table = np.stack([~truth, truth], axis=1).astype(np.float32)
        splits = k_fold(patients, table, min(folds, *have), seed, within={})
        tests = [split.indices(patients)["test"] for split in splits]
        for shortcut, values in features.items():
            auroc = _auroc(values, truth, tests)
            probes.append(Probe(name, shortcut, auroc, _interval(auroc, have[1], have[0])))
    return tuple(probes)


def _features(
    images: Images, manifest: Manifest, first: npt.NDArray[np.intp], columns: Sequence[str] | None
) -> dict[str, Floats]:
    """By shortcut, (F, features) with mean 0 and standard deviation 1; only features that differ between files."""
    rows = [manifest.rows[n] for n in images.rows[first].tolist()]
    stated = ORIGINS if columns is None else columns
    found: dict[str, Floats] = {}
    if images.sources:
        sources = [images.sources[i] for i in first.tolist()]
        size = [(np.log(s.rows), np.log(s.columns), np.log(s.columns / s.rows), np.log(s.frames)) for s in sources]
        found |= {"size": np.array(size), "brightness": np.array([[s.mean] for s in sources])}
        found |= {"colour": np.array([[float(s.colour)] for s in sources])}
    for column in stated:
        cells = [row.columns.get(column, "").strip() for row in rows]
        words = sorted(set(cells))
        if len(words) <= MOST_WORDS:
            found[column] = np.array([[float(cell == word) for word in words] for cell in cells])
    told = {name: values[:, values.std(axis=0) > 1e-9] for name, values in found.items()}
    return {name: (v - v.mean(axis=0)) / v.std(axis=0) for name, v in told.items() if v.shape[1]}


def _auroc(values: Floats, truth: npt.NDArray[np.bool_], tests: Sequence[npt.NDArray[np.intp]]) -> float:
    """Mean over the folds: scores of different regressions are not to be compared with each other."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    settings: Mapping[str, Any] = {"class_weight": "balanced", "max_iter": 1000}
    aurocs = []
    for test in tests:
        rest = np.setdiff1d(np.arange(len(truth)), test)
        if len(set(truth[test])) == len(set(truth[rest])) == 2:
            fitted = LogisticRegression(**settings).fit(values[rest], truth[rest])
            aurocs.append(roc_auc_score(truth[test], fitted.decision_function(values[test])))
    return float(np.mean(aurocs)) if aurocs else 0.5


def _interval(auroc: float, sick: int, healthy: int) -> tuple[float, float]:
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = (sick - 1) * (q1 - auroc**2) + (healthy - 1) * (q2 - auroc**2) + auroc * (1 - auroc)
    half = 1.96 * float(np.sqrt(max(spread, 0.0) / (sick * healthy)))
    return max(auroc - half, 0.0), min(auroc + half, 1.0)
