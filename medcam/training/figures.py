"""Every number of a trained model on patients who served for nothing else, as `medcam evaluate` has them too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.analysis import one
from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.calibration import Calibrated, calibrated
from medcam.evaluation.coverage import Coverage, coverage
from medcam.evaluation.decisions import Decisions
from medcam.evaluation.overall import Overall, overall
from medcam.evaluation.performance import Performance
from medcam.evaluation.subgroups import Subgroup, subgroups
from medcam.evaluation.table import Scored
from medcam.record import Record
from medcam.reliability.apply import CALIBRATED
from medcam.reliability.support import hashed
from medcam.training.answers import Answers
from medcam.training.learned import Learned

RULE = "mean probability"
"""How the files of an exam become one case."""
WORST = 5
"""So many errors of each kind are named."""


@dataclass(frozen=True)
class Error(Record):
    """A case that the model got wrong, by names that only the owner of the data can resolve."""

    label: str
    kind: str
    """"missed" or "false alarm"."""
    score: float
    file: str
    """First 16 digits of sha256(salt + file as the manifest writes it) of its first file."""
    patient: str
    """The same of the patient, as in the bundle's split table."""


@dataclass(frozen=True)
class Figures(Record):
    """What a model did on its test patients. All intervals are 95 %."""

    cases: int
    """Files of one exam are one case: its score is the mean of theirs."""
    series: int
    """Files."""
    patients: int
    labels: tuple[Performance, ...]
    """At the thresholds that screening uses."""
    overall: Overall | None
    """Of several labels together."""
    uncalibrated: tuple[Calibrated, ...]
    calibrated: tuple[Calibrated, ...]
    coverage: tuple[Coverage, ...]
    novel: float
    """Share of files that the support calls unlike anything trained on."""
    subgroups: tuple[Subgroup, ...]
    errors: tuple[Error, ...]
    """The worst first."""


def figures(test: Answers, learned: Learned, salt: str) -> Figures:
    """All figures of one model.

    Args:
        test: what it said about patients of whom nothing else has seen anything.
        learned: how that is to be read.
        salt: of the hashed split.
    """
    decisions, raw, cases = decisions_of(learned), aggregate(test.scored, RULE), cases_of(test, learned)
    draws, flagged = Bootstrap(cases.patients), decisions.flagged(cases)
    groups, before, after = [], [], []
    for k, name in enumerate(cases.labels):
        true, score = cases.targets[:, k], cases.probabilities[:, k]
        groups += subgroups(name, true, score, flagged[:, k], cases.patients, cases.columns, draws)
        before.append(calibrated(name, true, raw.probabilities[:, k], cases.patients, draws))
        after.append(calibrated(name, true, score, cases.patients, draws))
    return Figures(
        cases=len(cases),
        series=len(test.scored),
        patients=draws.patients,
        labels=tuple(one(cases, k, decisions, draws) for k in range(len(cases.labels))),
        overall=overall(cases.targets, cases.probabilities, flagged, draws, exclusive=cases.head == "softmax")
        if len(cases.labels) > 1
        else None,
        uncalibrated=tuple(before),
        calibrated=tuple(after),
        coverage=tuple(coverage(learned.conformal, cases)),
        novel=_novel(test, learned),
        subgroups=tuple(groups),
        errors=tuple(_errors(cases, decisions.thresholds, salt)),
    )


def cases_of(test: Answers, learned: Learned) -> Scored:
    """A row for each case, calibrated."""
    return decisions_of(learned).apply(aggregate(test.scored, RULE))


def decisions_of(learned: Learned) -> Decisions:
    """What screening will decide: each label has its threshold, classes that exclude each other too."""
    cuts = learned.calibration.thresholds
    values, origins = tuple(cut.value for cut in cuts), tuple(cut.origin for cut in cuts)
    return Decisions(values, origins, CALIBRATED, learned.calibration)


def _novel(test: Answers, learned: Learned) -> float:
    known = test.calibrated(learned.calibration)
    judged = [
        learned.support.judge(feature, float(known.probabilities[row, 0]), 0, patient=known.patients[row])
        for row, feature in enumerate(test.features)
    ]
    return float(np.mean([each.novel for each in judged]))


def _errors(cases: Scored, thresholds: Sequence[float], salt: str) -> list[Error]:
    """Of each label the misses with the lowest and the false alarms with the highest scores."""
    found = []
    for k, name in enumerate(cases.labels):
        score, sick = cases.probabilities[:, k], cases.targets[:, k] > 0.5
        yes = score >= thresholds[k]
        for kind, wrong, order in (("missed", sick & ~yes, score), ("false alarm", ~sick & yes, -score)):
            rows = [int(row) for row in np.argsort(order, kind="stable") if wrong[row]][:WORST]
            for row in rows:
                file, patient = (f"{hashed(salt, each):016x}" for each in (cases.files[row], cases.patients[row]))
                found.append(Error(name, kind, float(score[row]), file, patient))
    return found
