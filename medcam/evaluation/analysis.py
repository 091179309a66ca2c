"""From scored cases to the figures of each label, without a model: what the page and other protocols share."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medcam.data.confounders import Probe
from medcam.errors import UsageError
from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.bootstrap import Bootstrap, Values
from medcam.evaluation.calibration import calibrated
from medcam.evaluation.classification import Ranked
from medcam.evaluation.comparison import Comparison, compare
from medcam.evaluation.curves import precision_recall, roc
from medcam.evaluation.decisions import Decisions
from medcam.evaluation.doubt import Doubt, distance_from_threshold, doubt
from medcam.evaluation.outcome import LabelResult
from medcam.evaluation.performance import Performance, performance
from medcam.evaluation.subgroups import subgroups
from medcam.evaluation.table import Scored


def label_results(
    cases: Scored,
    images: Scored,
    decisions: Decisions,
    bootstrap: Bootstrap,
    shortcuts: Sequence[Probe] = (),
    single: Decisions | None = None,
) -> list[LabelResult]:
    """Everything about each label.

    Args:
        cases: one row per case, probabilities calibrated.
        images: what they were pooled from.
        decisions: thresholds and how they were chosen.
        bootstrap: draws of the cases' patients.
        shortcuts: what tells the labels without an image.
        single: decisions about images, if they are others.
    """
    flagged = decisions.flagged(cases)
    patients = _by_patient(cases)
    single = single or decisions
    images = single.apply(images) if len(images) != len(cases) else cases
    results = []
    for k, label in enumerate(cases.labels):
        targets, scores, yes = cases.targets[:, k], cases.probabilities[:, k], flagged[:, k]
        ranked = Ranked(targets, scores)
        results.append(
            LabelResult(
                performance=one(cases, k, decisions, bootstrap),
                by_patient=None if patients is None else one(patients, k, decisions, again(bootstrap, patients)),
                by_image=None if images is cases else one(images, k, single, again(bootstrap, images)),
                roc=roc(ranked, bootstrap),
                precision_recall=precision_recall(ranked, bootstrap),
                calibrated=calibrated(label, targets, scores, cases.patients, bootstrap),
                subgroups=tuple(subgroups(label, targets, scores, yes, cases.patients, cases.columns, bootstrap)),
                shortcuts=tuple(probe for probe in shortcuts if probe.label == label),
            )
        )
    return results


def one(scored: Scored, k: int, decisions: Decisions, bootstrap: Bootstrap) -> Performance:
    """The figures of label k."""
    return performance(
        scored.labels[k],
        scored.targets[:, k],
        scored.probabilities[:, k],
        scored.patients,
        decisions.thresholds[k],
        decisions.origins[k],
        flagged=decisions.flagged(scored)[:, k],
        bootstrap=bootstrap,
    )


def again(bootstrap: Bootstrap, scored: Scored) -> Bootstrap:
    """As many draws with the same seed for other rows."""
    return Bootstrap(scored.patients, draws=bootstrap.draws, seed=bootstrap.seed)


def _by_patient(cases: Scored) -> Scored | None:
    """A row per patient, if that is something else; None too where a patient has cases of several classes."""
    try:
        patients = aggregate(cases, "mean probability" if cases.head == "softmax" else "max", by="patient")
    except UsageError:
        return None
    return patients if len(patients) < len(cases) else None


def doubts(
    scored: Scored, decisions: Decisions, bootstrap: Bootstrap, confidences: dict[str, Values] | None = None
) -> list[Doubt]:
    """How well each measure of confidence tells which decisions are wrong.

    Args:
        scored: rows with calibrated probabilities.
        decisions: what is decided.
        bootstrap: draws of the rows' patients.
        confidences: by name, (N, K). By default the score's own.
    """
    right = correct(scored, decisions)
    confidences = own_confidence(scored, decisions) if confidences is None else confidences
    return [
        doubt(name, label, values[:, k], right[:, k], bootstrap)
        for name, values in confidences.items()
        for k, label in enumerate(scored.labels)
    ]


def own_confidence(scored: Scored, decisions: Decisions) -> dict[str, Values]:
    """By name, (N, K) distance from each threshold in logits."""
    return {"distance from threshold": distance_from_threshold(scored.probabilities, np.array(decisions.thresholds))}


def correct(scored: Scored, decisions: Decisions) -> npt.NDArray[np.bool_]:
    """(N, K) whether each decision is right."""
    absent: npt.NDArray[np.bool_] = scored.targets <= 0.5
    agrees: npt.NDArray[np.bool_] = np.logical_xor(decisions.flagged(scored), absent)
    return agrees


def comparisons(
    first: Scored, second: Scored, decisions: tuple[Decisions, Decisions], bootstrap: Bootstrap
) -> list[Comparison]:
    """Two models on the same cases, label by label.

    Args:
        first, second: calibrated, with the same cases in the same order.
        decisions: of either.
        bootstrap: draws of the cases' patients.

    Raises:
        ValueError: the cases or labels are not the same.
    """
    same = (first.files, first.patients, first.labels) == (second.files, second.patients, second.labels)
    if not same or not np.array_equal(first.targets, second.targets):
        raise ValueError("two models must be compared on the same cases")
    flagged = decisions[0].flagged(first), decisions[1].flagged(second)
    return [
        compare(
            label,
            first.targets[:, k],
            first.probabilities[:, k],
            second.probabilities[:, k],
            (flagged[0][:, k], flagged[1][:, k]),
            first.patients,
            bootstrap,
        )
        for k, label in enumerate(first.labels)
    ]


def with_decisions(cases: Scored, decisions: Decisions) -> Scored:
    """The same rows with a column "flagged LABEL" of 0 and 1, for the table of predictions."""
    flagged = decisions.flagged(cases)
    columns = {
        f"flagged {label}": tuple(str(int(yes)) for yes in flagged[:, k]) for k, label in enumerate(cases.labels)
    }
    return replace(cases, columns={**cases.columns, **columns})
