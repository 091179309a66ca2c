"""Networks that were trained and tested on the same patients: what each reaches, and what tells two of them apart."""

from collections.abc import Iterator, Sequence

import numpy as np

from medcam.evaluation.bootstrap import Bootstrap
from medcam.evaluation.comparison import compare
from medcam.evaluation.performance import Performance, performance
from medcam.protocols._runs import Run, same_rows
from medcam.training._markdown import number, table, told
from medcam.training.options import Options


def conditions(runs: Sequence[Run], options: Options) -> str:
    first, settings = runs[0], options.settings
    whole, learning = first.figures(), first.folds[0].account.data.sides["training"]["rows"]
    watch, calibrate = (f"{100 * options.within[side]:g} %" for side in ("validation", "calibration"))
    return f"""## Conditions

{whole.cases} images of {whole.patients} patients, {whole.positives} with an opacity ({whole.positive_patients} \
patients) and only {whole.cases - whole.positives} without ({whole.negative_patients} patients). {options.folds} folds \
by patient, the same for every network: each tests the patients that it learned nothing from; {watch} of the patients \
watch the training, {calibrate} calibrate the score and set the threshold (Youden). {options.size[0]} px, random first \
weights, {settings.epochs} epochs, the last one kept, AdamW with one cycle up to {settings.rate:g}, focal loss with \
gamma {settings.gamma:g} and class weights from counts, a plain sampler, images shifted, zoomed, turned, mirrored \
and made noisier, seed {settings.seed}. The networks of the first fold learned from {learning} images."""


def networks(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        whole, spread = run.figures(), run.spread()
        assert spread.mean is not None
        assert spread.sd is not None
        rows.append(
            (
                run.name,
                f"{run.parameters / 1e6:.1f}",
                told(whole.auroc),
                f"{spread.mean:.3f} ± {spread.sd:.3f}",
                told(whole.average_precision),
                *_at(whole),
                f"{run.minutes:.0f}",
            )
        )
    together = mean_of(runs)
    if together is not None:
        ranks = told(together.auroc), "", told(together.average_precision)
        rows.append(("mean of them all", f"{sum(run.parameters for run in runs) / 1e6:.1f}", *ranks, "", "", ""))
    header = ("Network", "Million parameters", "AUROC, pooled", "AUROC of the folds, mean ± SD", "Average precision")
    return f"""## All views

{table((*header, "Sensitivity", "Specificity", "Minutes"), rows)}

Pooled: calibrated probabilities of all patients, each by the fold that did not learn from the patient. A plain \
ResNet-18 of 160 px had been measured at about 0.80 before. Training took {sum(run.minutes for run in runs):.0f} \
minutes in all, whenever that was. The mean is that of the calibrated probabilities; no network was chosen for it."""


def mean_of(runs: Sequence[Run]) -> Performance | None:
    """What the mean of all networks ranks; None if they did not test the same files."""
    first = runs[0].scored
    if not same_rows(runs):
        return None
    mean = np.mean([run.scored.probabilities[:, 0] for run in runs], axis=0)
    return performance(first.labels[0], first.targets[:, 0], mean, first.patients, 0.5)


def _at(whole: Performance) -> Iterator[str]:
    yield told(whole.at_threshold["sensitivity"])
    yield told(whole.at_threshold["specificity"])


def pairs(runs: Sequence[Run]) -> str:
    if not same_rows(runs):
        return "## Pairs of networks\n\nNot compared: the networks did not test the same files."
    draws = Bootstrap(runs[0].scored.patients)
    rows = []
    for position, one in enumerate(runs):
        for other in runs[position + 1 :]:
            told_apart = compare(
                one.scored.labels[0],
                one.scored.targets[:, 0],
                one.scored.probabilities[:, 0],
                other.scored.probabilities[:, 0],
                (one.flagged[:, 0], other.flagged[:, 0]),
                one.scored.patients,
                draws,
            )
            right = told_apart.correct
            rows.append(
                (
                    f"{one.name} less {other.name}",
                    told(told_apart.difference),
                    _chance(told_apart.p),
                    f"{right.only_first} / {right.only_second}",
                    _chance(right.p),
                )
            )
    header = ("Pair", "Difference of AUROC (DeLong)", "p", "Only the first / only the second right", "p (McNemar)")
    return f"""## Pairs of networks

{table(header, rows)}

{len(rows)} comparisons: a p of 0.05 in one of them is no news. McNemar's test is about decisions, each at a \
threshold of its own, which few patients set: a network that flags more of these mostly sick patients is right more \
often."""


def _chance(p: float | None) -> str:
    return "below 0.001" if p is not None and p < 0.001 else number(p)
