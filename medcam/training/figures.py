"""Every number of a trained model on patients who served for nothing else: the contents of its model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.bootstrap import Bootstrap, Estimate
from medcam.evaluation.calibration import Calibrated, calibrated
from medcam.evaluation.overall import Overall, overall
from medcam.evaluation.performance import Performance, performance, proportion
from medcam.evaluation.subgroups import Subgroup, subgroups
from medcam.evaluation.table import Scored, probability
from medcam.record import Record
from medcam.reliability.support import hashed
from medcam.training.answers import Answers
from medcam.training.learned import Learned

WORST = 5
"""So many errors of each kind are named."""


@dataclass(frozen=True)
class Coverage(Record):
    """How often the conformal sets held the truth."""

    label: str
    answer: str
    """The true answer of the patients below."""
    promised: float
    """1 - alpha."""
    held: Estimate
    """Share of patients of whom every set holds it."""
    undecided: float
    """Share of series whose set excludes nothing."""


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
    """Rows of one exam are one case: its score is the mean of theirs."""
    series: int
    patients: int
    labels: tuple[Performance, ...]
    overall: Overall | None
    """Of several labels together."""
    uncalibrated: tuple[Calibrated, ...]
    calibrated: tuple[Calibrated, ...]
    coverage: tuple[Coverage, ...]
    novel: float
    """Share of series that the support calls unlike anything trained on."""
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
    known, thresholds = test.calibrated(learned.calibration), learned.calibration.thresholds
    values = [threshold.value for threshold in thresholds]
    raw = probability(test.scored.logits, test.scored.head)
    cases = aggregate(known, "mean probability")
    draws, of_series = Bootstrap(cases.patients), Bootstrap(known.patients)
    flagged = cases.probabilities >= np.array(values)
    labels, groups, before, after = [], [], [], []
    for k, name in enumerate(known.labels):
        true, score = cases.targets[:, k], cases.probabilities[:, k]
        labels.append(performance(name, true, score, cases.patients, values[k], thresholds[k].origin, bootstrap=draws))
        groups += subgroups(name, true, score, flagged[:, k], cases.patients, cases.columns, draws)
        before.append(calibrated(name, known.targets[:, k], raw[:, k], known.patients, of_series))
        after.append(calibrated(name, known.targets[:, k], known.probabilities[:, k], known.patients, of_series))
    return Figures(
        cases=len(cases),
        series=len(known),
        patients=len(set(known.patients)),
        labels=tuple(labels),
        overall=_overall(cases, flagged, draws),
        uncalibrated=tuple(before),
        calibrated=tuple(after),
        coverage=tuple(coverage(known, learned)),
        novel=_novel(test, known, learned),
        subgroups=tuple(groups),
        errors=tuple(_errors(cases, values, salt)),
    )


def _overall(cases: Scored, flagged: np.ndarray, draws: Bootstrap) -> Overall | None:
    """Exclusive classes are told by the most probable one, other labels by their thresholds."""
    if len(cases.labels) == 1:
        return None
    if cases.head == "softmax":
        flagged = np.eye(len(cases.labels), dtype=bool)[cases.predicted]
    return overall(cases.targets, cases.probabilities, flagged, draws)


def coverage(known: Scored, learned: Learned) -> list[Coverage]:
    """For each question and true answer: how many patients have it in the sets of all their series."""
    told = []
    softmax = known.head == "softmax"
    patients = np.array(known.patients)
    for question in range(1 if softmax else len(known.labels)):
        sets = [learned.conformal.set_of(p, question) for p in known.probabilities]
        column = known.targets[:, question]
        truth = known.targets.argmax(axis=1) if softmax else (column > 0.5).astype(int)
        answers = learned.conformal.answers(question)
        for number, answer in enumerate(answers):
            rows = np.flatnonzero(truth == number)
            missed = {patients[row] for row in rows if answer not in sets[row].members}
            people = set(patients[rows])
            whole = [len(sets[row].members) == len(answers) for row in rows]
            told.append(
                Coverage(
                    label="" if softmax else known.labels[question],
                    answer=answer,
                    promised=1 - learned.conformal.alpha,
                    held=proportion(len(people) - len(missed), len(people), len(people)),
                    undecided=float(np.mean(whole)) if whole else 0.0,
                )
            )
    return told


def _novel(test: Answers, known: Scored, learned: Learned) -> float:
    judged = [
        learned.support.judge(feature, float(known.probabilities[row, 0]), 0, patient=known.patients[row]).novel
        for row, feature in enumerate(test.features)
    ]
    return float(np.mean(judged))


def _errors(cases: Scored, thresholds: Sequence[float], salt: str) -> list[Error]:
    """Of each label the misses with the lowest and the false alarms with the highest scores."""
    found = []
    for k, name in enumerate(cases.labels):
        score, sick = cases.probabilities[:, k], cases.targets[:, k] > 0.5
        yes = score >= thresholds[k]
        for kind, wrong, order in (("missed", sick & ~yes, score), ("false alarm", ~sick & yes, -score)):
            rows = [int(row) for row in np.argsort(order, kind="stable") if wrong[row]][:WORST]
            for row in rows:
                file, patient = (f"{hashed(salt, one):016x}" for one in (cases.files[row], cases.patients[row]))
                found.append(Error(name, kind, float(score[row]), file, patient))
    return found
