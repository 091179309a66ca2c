"""How well a network tells validation cases apart, each case once however many images it has."""

import numpy as np
import numpy.typing as npt

from medcam.evaluation.aggregation import aggregate
from medcam.evaluation.classification import auroc
from medcam.evaluation.table import Scored
from medcam.training.checks import Examples
from medcam.training.settings import Unit


def case_auroc(logits: npt.NDArray[np.float64], examples: Examples, unit: Unit) -> float | None:
    """AUROC of mean probabilities of cases, averaged over the labels that some cases have and others have not.

    Args:
        logits: (N, K), finite, aligned with the examples.
        examples: the validation side.
        unit: what is a case.

    Returns:
        float | None: None where no label tells cases apart.
    """
    labelling = examples.labelling
    scored = Scored.of(
        logits, examples.targets, examples.patients, labelling.names, labelling.head, exams=examples.exams
    )
    if unit != "image":
        scored = aggregate(scored, "mean probability", unit)
    told = [column for column in range(len(labelling.names)) if 0 < scored.targets[:, column].mean() < 1]
    areas = [auroc(scored.targets[:, column], scored.probabilities[:, column]) for column in told]
    return float(np.mean(areas)) if areas else None
