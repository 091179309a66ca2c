"""Cross-validation: every patient is tested once, by a network that has seen nothing of the patient.

Each fold is a whole training with its own validation and calibration patients, and leaves a bundle of its own. There is
no bundle of all folds: the best of them would have been chosen by its test patients. Screen with any one, or with all
of them as an ensemble.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from medcam.evaluation.bootstrap import Estimate
from medcam.evaluation.performance import Performance, performance
from medcam.evaluation.table import Scored
from medcam.progress import Progress
from medcam.record import Record
from medcam.storage import storage_errors, write_whole
from medcam.training._card_figures import RATIOS, performance_table
from medcam.training._markdown import WARNING, table, told, words
from medcam.training.options import Options
from medcam.training.plan import Plan

if TYPE_CHECKING:
    from medcam.training.train import Material, Trained

TABLE, DATA, PREDICTIONS = "README.md", "folds.json", "predictions.csv"


@dataclass(frozen=True)
class Spread(Record):
    """One figure over the folds."""

    folds: tuple[float | None, ...]
    """None where a fold's test patients do not define it."""
    mean: float | None
    sd: float | None
    """Of the folds (n - 1): how much a figure depends on who is trained and tested on whom; no interval."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Self:
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if known else None
        return cls(tuple(values), mean, float(np.std(known, ddof=1)) if len(known) > 1 else None)


@dataclass(frozen=True)
class Folds(Record):
    """Figures by fold, and of all patients pooled."""

    pipeline: str
    split: tuple[str, ...]
    labels: tuple[str, ...]
    spreads: Mapping[str, Mapping[str, Spread]]
    """By label and figure."""
    pooled: tuple[Performance, ...]
    """Of each label, over every patient once. Each fold's own threshold decides."""
    cases: int
    patients: int


def folds_of(out: Path) -> Path:
    """Where the folds of a bundle go."""
    return out.with_name(f"{out.name}.folds")


def cross_validate(
    plan: Plan, material: Material, out: Path, run: Path, options: Options, progress: Progress
) -> list[Trained]:
    """Train a network for each fold, and write the table of all of them.

    Args:
        plan: with a split for each fold.
        material: the images of all patients, decoded once.
        out: the folder of the folds; `fold_1` and so on are bundles.
        run: keeps what each fold has done; predictions of all patients, with their ids, are written there.
    """
    from medcam.training.train import train_split

    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    done = []
    for number, split in enumerate(plan.splits, start=1):
        progress.say(split.how)
        fold = f"fold_{number}"
        done.append(train_split(plan, split, material, out / fold, run / fold, options, progress))
    scored, flagged = pooled([one.cases for one in done], [thresholds(one) for one in done])
    result = summarise(plan, done, scored, flagged)
    with storage_errors(out):
        scored.write(run / PREDICTIONS)
        write_whole(out / DATA, _json(result))
        write_whole(out / TABLE, markdown(result).encode())
    return done


def _json(folds: Folds) -> bytes:
    return (json.dumps(folds.to_dict(), indent=1, allow_nan=False) + "\n").encode()


def thresholds(fold: Trained) -> list[float]:
    """Of each label, chosen on the fold's own calibration patients."""
    return [threshold.value for threshold in fold.account.calibration.thresholds]


def pooled(cases: Sequence[Scored], cuts: Sequence[Sequence[float]]) -> tuple[Scored, npt.NDArray[np.bool_]]:
    """The cases of all folds one after the other, and (N, K) which of them their own fold flags.

    Raises:
        ValueError: a patient was tested twice.
    """
    people = [patient for one in cases for patient in set(one.patients)]
    if len(people) != len(set(people)):
        raise ValueError("a patient was tested by two folds")
    flagged = np.concatenate([one.probabilities >= np.array(cut) for one, cut in zip(cases, cuts, strict=True)])
    first = cases[0]
    return (
        Scored.of(
            np.concatenate([one.logits for one in cases]),
            np.concatenate([one.targets for one in cases]),
            [patient for one in cases for patient in one.patients],
            first.labels,
            first.head,
            exams=[exam for one in cases for exam in one.exams],
            files=[file for one in cases for file in one.files],
            columns={name: [cell for one in cases for cell in one.columns[name]] for name in first.columns}
            | {"fold": [str(number) for number, one in enumerate(cases, start=1) for _ in range(len(one))]},
            probabilities=np.concatenate([one.probabilities for one in cases]),
        ),
        flagged,
    )


def summarise(plan: Plan, done: Sequence[Trained], scored: Scored, flagged: npt.NDArray[np.bool_]) -> Folds:
    """Every figure by fold, over the folds and pooled."""
    labels, spreads = [], {}
    for k, name in enumerate(scored.labels):
        own = [one.account.figures.labels[k] for one in done]
        spreads[name] = {figure: Spread.of([value.value for value in values]) for figure, values in _figures(own)}
        cut = float(np.mean([thresholds(one)[k] for one in done]))
        labels.append(
            performance(
                name,
                scored.targets[:, k],
                scored.probabilities[:, k],
                scored.patients,
                cut,
                "each fold's own; this is their mean",
                flagged=flagged[:, k],
            )
        )
    return Folds(
        pipeline=plan.name,
        split=tuple(split.how for split in plan.splits),
        labels=scored.labels,
        spreads=spreads,
        pooled=tuple(labels),
        cases=len(scored),
        patients=len(set(scored.patients)),
    )


def _figures(folds: Sequence[Performance]) -> Iterator[tuple[str, list[Estimate]]]:
    yield "auroc", [one.auroc for one in folds]
    yield "average_precision", [one.average_precision for one in folds]
    for name in RATIOS:
        yield name, [one.at_threshold[name] for one in folds]


def markdown(folds: Folds) -> str:
    """The table for people."""
    count = len(folds.split)
    header = ("Figure", *(f"Fold {number}" for number in range(1, count + 1)), "Mean ± SD", "Pooled (95 %)")
    tables = "\n\n".join(
        f"## {label}\n\n{table(header, _rows(folds.spreads[label], whole))}"
        for label, whole in zip(folds.labels, folds.pooled, strict=True)
    )
    return f"""# {folds.pipeline}: {count} folds

{folds.cases} cases of {folds.patients} patients, each tested once by a network that has seen nothing of the patient: \
{folds.split[0].split(", ", 1)[-1]}. {WARNING}

{tables}

Mean and SD are of the folds' own figures; the SD is no interval, because the folds share training patients. Pooled: \
the calibrated probabilities of all patients together, flagged by the threshold of their own fold; intervals draw \
patients.

{performance_table(folds.pooled)}

`fold_1` and so on are bundles, each with a model card of its own. None of them is the best: that choice would have \
been made by its test patients. To ask all of them, put the others into the folder `members` of one and screen with \
`--uncertainty ensemble`.
"""


def _rows(spreads: Mapping[str, Spread], whole: Performance) -> Iterator[tuple[str, ...]]:
    known = {"auroc": whole.auroc, "average_precision": whole.average_precision, **whole.at_threshold}
    for name, spread in spreads.items():
        yield words(name), *map(_number, spread.folds), _mean(spread), told(known[name])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean(spread: Spread) -> str:
    return _number(spread.mean) + ("" if spread.sd is None else f" ± {spread.sd:.3f}")
