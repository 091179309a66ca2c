"""Do conformal sets hold the truth as often as they promise? Counted by patient, on patients they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medcam.evaluation.bootstrap import Estimate
from medcam.evaluation.performance import proportion
from medcam.evaluation.table import Scored
from medcam.record import Record
from medcam.reliability.conformal import Conformal


@dataclass(frozen=True)
class Coverage(Record):
    """Sets about one question, for the patients whose true answer is `answer`."""

    question: str
    """A label, or "class"."""
    answer: str
    promised: float
    covered: Estimate
    """Share of these patients for whom the set of every case holds the answer."""
    patients: int
    mean_size: float | None
    """Answers per set, over these patients' cases."""
    undecided: float | None
    """Share of their cases whose set holds every answer."""
    empty: float | None
    """Share of their cases whose set holds none."""


def coverage(conformal: Conformal, scored: Scored) -> list[Coverage]:
    """A row for each question and true answer.

    Args:
        conformal: as the bundle keeps it.
        scored: cases with probabilities of the same calibration.
    """
    exclusive = conformal.head == "softmax"
    rows = []
    for label in range(1 if exclusive else len(scored.labels)):
        answers = conformal.answers(label)
        true = scored.targets.argmax(axis=1) if exclusive else (scored.targets[:, label] > 0.5).astype(int)
        sets = [conformal.set_of(p, label).members for p in scored.probabilities]
        for number, answer in enumerate(answers):
            of_answer = np.flatnonzero(true == number).tolist()
            question = "class" if exclusive else scored.labels[label]
            chosen = [sets[i] for i in of_answer]
            patients = [scored.patients[i] for i in of_answer]
            rows.append(_coverage(question, answer, len(answers), 1 - conformal.alpha, chosen, patients))
    return rows


def _coverage(
    question: str, answer: str, answers: int, promised: float, sets: Sequence[tuple[str, ...]], patients: Sequence[str]
) -> Coverage:
    missed = {patient for patient, members in zip(patients, sets, strict=True) if answer not in members}
    people = len(set(patients))
    sizes = np.array([len(members) for members in sets])
    there = len(sizes) > 0
    return Coverage(
        question=question,
        answer=answer,
        promised=promised,
        covered=proportion(people - len(missed), people, people),
        patients=people,
        mean_size=float(sizes.mean()) if there else None,
        undecided=float((sizes == answers).mean()) if there else None,
        empty=float((sizes == 0).mean()) if there else None,
    )
