"""Tables for the terminal: what a screening found, what a training came to, and what the shelves hold."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medcam.errors import REASONS
from medcam.models._presets import presets
from medcam.plugins import locate

if TYPE_CHECKING:
    from medcam.evaluation.outcome import Evaluation
    from medcam.screening import Outcome
    from medcam.training.train import Outcome as TrainingOutcome
    from medcam.training.train import Trained

STYLES = {"flagged": "bold red", "refer": "bold yellow", "not flagged": "", "demonstration only": "dim"}
MOST_REFUSALS = 30


def printable(text: str) -> str:
    """Words from files and file names without what a terminal would obey or cannot show."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def outcome_table(outcome: "Outcome") -> RenderableType:
    """The cases of a run, what was refused or failed and why, and the counts."""
    if outcome.planned is not None:
        return Group(*(Text(printable(line)) for line in outcome.planned))
    table = Table("study", "pipeline", "decision", "score", "uncertainty (SD)", "where", title="Cases")
    for row in sorted(outcome.rows, key=lambda row: (row["pipeline"], -row["score"])):
        words = Text(row["decision"], style=STYLES.get(row["decision"], ""))
        sd = "" if row["score_sd"] is None else f"{row['score_sd']:.3f}"
        table.add_row(row["case"][:12], row["pipeline"], words, f"{row['score']:.3f}", sd, row["where"])
    parts: list[RenderableType] = [table]
    bad = [refusal for refusal in outcome.refusals if refusal.status != "skipped"]
    if bad:
        refused = Table("study", "what", "status", "code", "reason", title="Eligible, but not scored")
        for one in bad[:MOST_REFUSALS]:
            why = one.reason.detail or REASONS[one.reason.code]
            cells = (one.study_key, one.description, one.status, one.reason.code, why)
            refused.add_row(*(Text(printable(cell)) for cell in cells))
        parts.append(refused)
        if len(bad) > MOST_REFUSALS:
            parts.append(Text(f"and {len(bad) - MOST_REFUSALS} more; all of them are in the results folder's index."))
    parts += [Text(line) for line in _counts(outcome)]
    return Group(*parts)


def _counts(outcome: "Outcome") -> Iterator[str]:
    for name, counts in outcome.intake.counts().items():
        yield f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items())
    if outcome.outdated:
        were = "case is" if len(outcome.outdated) == 1 else "cases are"
        yield f"{len(outcome.outdated)} older {were} marked as outdated: the source gave no result now"
    new = sum(row["new"] for row in outcome.rows)
    yield f"cases: {new} scored now, {len(outcome.rows) - new} known from before, in {outcome.seconds:.1f} s"
    plain = sorted({row["pipeline"] for row in outcome.rows if not row["calibrated"]})
    several = len({row["pipeline"] for row in outcome.rows}) > len(plain)
    which = f" of {', '.join(plain)}" if several else ""
    words = f"Scores{which} are uncalibrated; a" if plain or not outcome.rows else "A"
    yield f"{words} case that is not flagged is not thereby normal. Research use only."


def training_table(outcome: "TrainingOutcome") -> RenderableType:
    """Who is on which side, how good each network is on its test patients, and where it is."""
    parts: list[RenderableType] = []
    for split in outcome.plan.splits:
        counts = outcome.plan.counts(split)
        names = [name for name in counts["test"] if name not in ("rows", "patients")]
        sides = Table("side", "rows", "patients", *(escape(printable(f"with {name}")) for name in names))
        sides.title = Text(printable(split.how))
        for side, numbers in counts.items():
            sides.add_row(side, *map(str, numbers.values()))
        parts.append(sides)
    lost = sum(outcome.plan.unlabelled.values())
    if lost:
        parts.append(Text(f"left out because their label is in no group: {lost} rows"))
    parts += [Text(f"note: {printable(note)}") for note in outcome.plan.notes]
    if outcome.out is None:
        return Group(*parts, Text("Nothing was trained: this was a dry run."))
    figures = Table("bundle", "label", "AUROC (95 %)", "sensitivity", "specificity", "threshold", "cases (patients)")
    figures.title = "On test patients, who served for nothing else"
    for trained in outcome.trained:
        for row in _figures(trained):
            figures.add_row(*(Text(printable(cell)) for cell in row))
    parts += [figures, Text(printable(f"written: {outcome.out}"))]
    parts.append(Text("The model card is docs/README.md of a bundle. Research use only."))
    return Group(*parts)


def _figures(trained: "Trained") -> Iterator[tuple[str, ...]]:
    from medcam.training._markdown import told

    for one in trained.account.figures.labels:
        shares = (one.at_threshold["sensitivity"], one.at_threshold["specificity"])
        cases = f"{one.cases} ({one.patients})"
        yield trained.bundle.folder.name, one.label, told(one.auroc), *map(told, shares), f"{one.threshold:.3f}", cases


def evaluation_table(evaluation: "Evaluation") -> RenderableType:
    """The figures of each label, and what to know before reading them."""
    from medcam.evaluation.figures import number

    figures = Table("label", "patients with / of", "AUROC (95 %)", "sensitivity", "specificity", "calibration error")
    figures.title = Text(printable(f"{evaluation.model.name} on {evaluation.cohort.manifest}"))
    for label in evaluation.labels:
        one = label.performance
        people = f"{one.positive_patients} / {one.patients}"
        cells = map(number, (one.auroc, one.sensitivity_wilson, one.specificity_wilson, label.calibrated.ece))
        figures.add_row(*(Text(printable(cell)) for cell in (one.label, people, *cells)))
    parts: list[RenderableType] = [figures]
    for referral in evaluation.referrals:
        decided, whys = referral.decided, ", ".join(f"{why} {count}" for why, count in referral.reasons.items())
        left = f"of the others sensitivity {number(decided.sensitivity)}, specificity {number(decided.specificity)}"
        said = f"{referral.label}: screening refers {number(referral.referred)} of the files ({whys or 'none'}); {left}"
        parts.append(Text(printable(said)))
    for pair in evaluation.comparisons:
        difference = f"{pair.label}, AUROC less that of the other bundle: {number(pair.difference, 3)}"
        parts.append(Text(printable(difference)))
    parts += [Text(printable(f"note: {caveat}")) for caveat in evaluation.caveats]
    return Group(*parts)


def shelves() -> dict[str, Callable[[], list[tuple[str, str]]]]:
    """What `medcam list` can list: name and first line of each member, read without importing it."""
    package = Path(__file__).parent
    return {
        "pipelines": lambda: _files(locate("pipelines")),
        "methods": lambda: _files(package / "explainers"),
        "models": lambda: [*_files(package / "models"), *_presets(), *_bundles()],
        "protocols": lambda: _files(package / "protocols"),
        "reports": lambda: _files(package / "reports"),
        "readers": lambda: _files(package / "readers"),
        "transforms": lambda: _files(package / "transforms"),
    }


def member_table(what: str) -> Table:
    """One row per member."""
    table = Table("name", "what it is", title=what)
    for name, line in shelves()[what]():
        table.add_row(Text(name), Text(line))
    return table


def _files(folder: Path) -> list[tuple[str, str]]:
    paths = [path for path in sorted(folder.glob("*.py")) if path.stem[0] != "_" and path.stem != "base"]
    return [(path.stem, (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]) for path in paths]


def _presets() -> list[tuple[str, str]]:
    known = sorted(presets().items())
    return [(f"{name} (preset)", f"network of models/{target.split('.')[-2]}.py") for name, (target, _) in known]


def _bundles() -> list[tuple[str, str]]:
    folder = locate("sample_data") / "bundles"
    return [(f"{path.name} (bundle)", "demonstration bundle") for path in sorted(folder.glob("*")) if path.is_dir()]
