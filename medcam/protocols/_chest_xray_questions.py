"""Opacity or not, asked where the shortcuts are closed, and of a network that learned every finding."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy.special import expit, logit

from medcam.evaluation.classification import auroc
from medcam.evaluation.performance import performance
from medcam.evaluation.table import Scored
from medcam.protocols._runs import Run, rows_where
from medcam.training._markdown import number, table, told

VIEW = "view_or_probe"
FINDING, NEGATIVE = "opacity", "No Finding"


def answer(scored: Scored) -> Scored:
    """Of a network of many findings the answer to the question: its odds of an opacity over those of No Finding.

    Args:
        scored: (N, K), with a column of the question's finding and one of `NEGATIVE`.

    Returns:
        (n, 1): the images that answer the question one way or the other.
    """
    sick, healthy = scored.labels.index(FINDING), scored.labels.index(NEGATIVE)
    asked = scored.subset(scored.targets[:, [sick, healthy]].any(1))
    calibrated = logit(asked.probabilities.clip(1e-9, 1 - 1e-9))
    odds = calibrated[:, sick] - calibrated[:, healthy]
    return replace(
        asked,
        labels=(FINDING,),
        head="single-logit",
        logits=odds[:, None],
        probabilities=expit(odds)[:, None],
        targets=asked.targets[:, [sick]],
    )


def parts(every: Sequence[Run], frontal: Sequence[Run], findings: Sequence[Run], pools: Mapping[str, str]) -> str:
    """AUROCs where the shortcuts are the same for all; `pools` by file."""
    tested = [(f"{run.name}, trained on all views", run.scored) for run in every]
    tested += [(f"{run.name}, trained on PA only", run.scored) for run in frontal]
    tested += [(f"{run.name}, trained on all findings", answer(run.scored)) for run in findings]
    rows = []
    for name, scored in tested:
        for cells in (scored.columns[VIEW], tuple(pools[file] for file in scored.files)):
            for value in sorted(set(cells)):
                part = scored.subset([cell == value for cell in cells])
                truth = part.targets[:, 0]
                if 0 < truth.sum() < len(truth):
                    told_of = performance(FINDING, truth, part.probabilities[:, 0], part.patients, 0.5)
                    healthy = len(truth) - int(truth.sum())
                    rows.append((name, value, len(truth), healthy, told(told_of.auroc)))
    return f"""## By view and by pool

{table(("Network", "Tested on", "Images", "Without opacity", "AUROC"), rows)}

View and pool give the label away: few of the AP images are without a finding, and all images without a finding are \
of one pool. Within one view, or within that pool, this shortcut is closed; these are the harder and the more honest \
questions (PA before: about 0.73)."""


def findings(runs: Sequence[Run]) -> str:
    run = runs[0]
    whole = answer(run.scored)
    figures = performance(FINDING, whole.targets[:, 0], whole.probabilities[:, 0], whole.patients, 0.5)
    rows = [
        (label, int(run.scored.targets[:, number].sum()), told(run.figures(label=number).auroc))
        for number, label in enumerate(run.scored.labels)
    ]
    return f"""## Trained on all findings

{run.name} learned {len(rows)} labels at once from every image there is: {len(run.scored)} images of \
{len(set(run.scored.patients))} patients, most of which answer the question above neither way. Its odds of an opacity \
over those of No Finding tell an opacity from No Finding with an AUROC of {told(figures.auroc)} \
({figures.cases} images; other folds than above, {run.minutes:.0f} minutes). Each label against all other images:

{table(("Label", "Images with it", "AUROC"), rows)}"""


def shortcuts(run: Run) -> str:
    scored = run.scored
    portable = rows_where(scored, VIEW, "AP").astype(float)
    area = auroc(scored.targets[:, 0], portable)
    rows = []
    for probe in run.folds[0].account.shortcuts:
        low, high = probe.interval
        rows.append((probe.shortcut, f"{probe.auroc:.3f} ({low:.3f} to {high:.3f})"))
    return f"""## What tells the label without the picture

{table(("Shortcut", "AUROC"), [("AP view, as it stands", number(area)), *rows])}

Regressions cross-validated by patient. A network's AUROC means little where it is not clearly above these."""
