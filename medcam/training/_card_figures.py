"""The part of a model card that counts: performance, reliability, subgroups and failures on test patients."""

from collections.abc import Sequence

from medcam.evaluation.coverage import Coverage
from medcam.evaluation.performance import Performance
from medcam.evaluation.subgroups import Subgroup
from medcam.reliability.calibration import Calibration
from medcam.training._markdown import number, table, told, words
from medcam.training.account import Account

RATIOS = ("sensitivity", "specificity", "precision", "negative_predictive_value", "f1", "mcc", "balanced_accuracy")


def performance(account: Account) -> str:
    """How well cases are told apart, and what the thresholds do."""
    figures, together = account.figures, ""
    if figures.overall is not None:
        rows = [(f"mean over labels: {words(name)}", told(one)) for name, one in figures.overall.macro.items()]
        rows += [(f"most probable class: {words(name)}", told(one)) for name, one in figures.overall.classes.items()]
        together = "\n\n" + table((f"All {figures.overall.labels} labels", ""), rows)
    several = (
        " Files of one exam are one case; its score is the mean of theirs." if figures.series > figures.cases else ""
    )
    return f"""## Performance

On {figures.cases} cases ({figures.series} files) of {figures.patients} test patients, who served for nothing \
else.{several} In brackets 95 % intervals; where they are by bootstrap, patients were drawn.

{performance_table(figures.labels)}{"".join(map(_at_threshold, figures.labels))}{together}"""


def performance_table(labels: Sequence[Performance]) -> str:
    """One row for each figure, one column for each label."""
    rows: list[tuple[str, ...]] = [
        ("cases (patients)", *(f"{one.cases} ({one.patients})" for one in labels)),
        ("with the label", *(f"{one.positives} ({one.positive_patients})" for one in labels)),
        ("AUROC", *(told(one.auroc) for one in labels)),
        ("AUROC, DeLong by patient", *(told(one.auroc_delong) for one in labels)),
        ("average precision", *(told(one.average_precision) for one in labels)),
        *((words(name), *(told(one.at_threshold[name]) for one in labels)) for name in RATIOS),
        ("sensitivity, Wilson", *(told(one.sensitivity_wilson) for one in labels)),
        ("specificity, Wilson", *(told(one.specificity_wilson) for one in labels)),
    ]
    return table(("Figure", *(one.label for one in labels)), rows)


def _at_threshold(one: Performance) -> str:
    return f"""

{one.label}: threshold {one.threshold:.4f} of the probability, {one.threshold_origin}. {one.tp} found, {one.fn} \
missed, {one.fp} false alarms, {one.tn} rightly not flagged. {" ".join(one.statements)}"""


def reliability(account: Account) -> str:
    """Whether probabilities come true, where thresholds lie, what sets hold, and how much is unlike the training."""
    calibration, conformal, figures = account.calibration, account.conformal, account.figures
    rows: list[tuple[str, ...]] = []
    for name, before, after in zip(account.labels, figures.uncalibrated, figures.calibrated, strict=True):
        rows.append((f"{name}: ECE", told(before.ece), told(after.ece), number(after.ece_by_chance)))
        rows.append((f"{name}: adaptive ECE", number(before.adaptive_ece), number(after.adaptive_ece), ""))
        rows.append((f"{name}: Brier score", told(before.brier), told(after.brier), ""))
        rows.append((f"{name}: negative log likelihood", number(before.nll), number(after.nll), ""))
    cuts = [
        (
            name,
            f"{calibration.prior[k]:.3f}",
            _fitted(calibration, k),
            f"{cut.value:.4f} ({cut.interval[0]:.4f} to {cut.interval[1]:.4f})",
            cut.origin,
        )
        for k, (name, cut) in enumerate(zip(account.labels, calibration.thresholds, strict=True))
    ]
    sets = [
        (one.answer, _patients(account, one), told(one.covered), _share(one.undecided), _share(one.empty))
        for one in figures.coverage
    ]
    novel = f"{figures.novel:.0%} of the test files lie further from them than calibration patients did."
    if account.support_limit is None:
        novel = "What is unlike all of them is not known, for want of calibration patients."
    return f"""## Reliability

Learned on {calibration.origin} ({calibration.images} files), measured on the test patients.{_tried(calibration)} \
The ECE of a small sample is not zero even where every probability is true: see by chance.

{table(("Figure", "As the network says", "Calibrated", "By chance"), rows)}

The probabilities hold where labels are as common as among the calibration files.

{table(("Label", "Share of calibration files", "Calibration", "Threshold (95 %)", "Origin of the threshold"), cuts)}

Conformal sets ({conformal.score.upper()}, by class and patient) promise to hold the truth for \
{1 - conformal.alpha:.0%} of patients like these.

{table(("True answer", "Calibration patients", "Held for test patients", "Sets with every answer", "Empty sets"), sets)}

Support: the features of {account.support_cases:,} training files are kept, without pixels. {novel}"""


def _fitted(calibration: Calibration, k: int) -> str:
    if not calibration.fitted(k):
        return "none: all or no calibration files have it"
    steps = calibration.steps[k] if calibration.steps else None
    return f"{steps.count} steps" if steps else f"{calibration.scale[k]:.3f} x logit + {calibration.offset[k]:.3f}"


def _tried(calibration: Calibration) -> str:
    """What else was seen of the calibration, and what steps do to the order of scores."""
    told = "".join(f" {name[0].upper()}{name[1:]}: {value:.4f}." for name, value in calibration.figures.items())
    return f"{told} Scores of one step are equal, so that the AUROC may be lower." if calibration.steps else told


def _patients(account: Account, one: Coverage) -> str:
    question = account.labels.index(one.question) if one.question in account.labels else 0
    place = account.conformal.answers(question).index(one.answer)
    few = account.conformal.quantiles[question][place] is None
    return f"{account.conformal.patients[question][place]}{', too few: never left out' if few else ''}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def subgroups(account: Account) -> str:
    """The same for women and men, young and old, each view and device."""
    if not account.figures.subgroups:
        return """## Subgroups

The manifest says nothing of sex, age, view, device or site by which test patients could be told apart."""
    header = ("Label", "Group", "Cases (patients)", "AUROC", "Sensitivity", "Specificity", "Note")
    return f"""## Subgroups

{table(header, map(_subgroup, account.figures.subgroups))}"""


def _subgroup(one: Subgroup) -> tuple[str, ...]:
    differs = [f"differs in {', '.join(one.differs)}"] if one.differs else []
    notes = "; ".join([*differs, *([one.note] if one.note else [])])
    figures = (told(one.auroc), told(one.sensitivity), told(one.specificity))
    return one.label, f"{one.attribute}: {one.group}", f"{one.cases} ({one.patients})", *figures, notes


def failures(account: Account) -> str:
    """The worst errors, by names that only the owner of the data can resolve."""
    errors = account.figures.errors
    if not errors:
        return """## Failures

No test case was wrong at the threshold: too few cases to conclude that none will be."""
    rows = [(one.label, one.kind, f"{one.score:.3f}", one.file, one.patient) for one in errors]
    return f"""## Failures

The worst errors on test patients. Who has the data finds a file by its hash, the first 16 digits of sha256(salt + \
file as the manifest writes it), salt in `configs/split.json`; the same of a patient's id.

{table(("Label", "Error", "Probability", "File", "Patient"), rows)}"""
