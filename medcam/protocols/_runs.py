"""Trainings of a protocol: networks under the same conditions, each by folds, pooled over all patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.performance import Performance, performance
from medcam.evaluation.table import Scored
from medcam.progress import Progress
from medcam.training.crossval import Spread, pooled, thresholds
from medcam.training.options import Options
from medcam.training.train import Trained, train


@dataclass(frozen=True)
class Run:
    """One network over all folds."""

    name: str
    folds: tuple[Trained, ...]
    scored: Scored
    """Every patient once, tested by the fold that did not learn from the patient."""
    flagged: npt.NDArray[np.bool_]
    """(N, K): by the threshold of the patient's own fold."""

    @property
    def parameters(self) -> int:
        """Of the network."""
        return self.folds[0].account.network.parameters

    @property
    def minutes(self) -> float:
        """Of training."""
        return sum(fold.account.seconds for fold in self.folds) / 60

    def spread(self, label: int = 0) -> Spread:
        """The folds' own AUROCs."""
        return Spread.of([fold.account.figures.labels[label].auroc.value for fold in self.folds])

    def figures(self, rows: npt.NDArray[np.bool_] | None = None, label: int = 0) -> Performance:
        """Of all patients, or of some rows."""
        rows = np.ones(len(self.scored), dtype=bool) if rows is None else rows
        patients = [patient for patient, is_in in zip(self.scored.patients, rows, strict=True) if is_in]
        cut = float(np.mean([thresholds(fold)[label] for fold in self.folds]))
        return performance(
            self.scored.labels[label],
            self.scored.targets[rows, label],
            self.scored.probabilities[rows, label],
            patients,
            cut,
            "each fold's own",
            flagged=self.flagged[rows, label],
            bootstrap=Bootstrap(patients),
        )


def cross_validated(
    pipeline: str,
    manifest: Path,
    work: Path,
    options: Options,
    networks: Mapping[str, Mapping[str, object]],
    progress: Progress,
) -> list[Run]:
    """Each network by the same folds; what is finished in `work` is not trained again.

    Args:
        networks: by name, what differs from `options`.
    """
    runs = []
    for name, differs in networks.items():
        progress.say(f"{name}:")
        outcome = train(pipeline, manifest, work / name, replace(options, **dict(differs)), progress)  # type: ignore[arg-type]
        scored, flagged = pooled([one.cases for one in outcome.trained], [thresholds(one) for one in outcome.trained])
        runs.append(Run(name, outcome.trained, scored, flagged))
    return runs


def rows_where(scored: Scored, column: str, value: str) -> npt.NDArray[np.bool_]:
    """(N,): which cases have this cell."""
    return np.array([cell == value for cell in scored.columns[column]], dtype=bool)


def same_rows(runs: Sequence[Run]) -> bool:
    """Whether all runs tested the same files in the same order, so that they can be paired."""
    return all(run.scored.files == runs[0].scored.files for run in runs)
