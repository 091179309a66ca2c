"""What every report says, once and in one order, as plain data: HTML, PDF and JSON only differ in how they show it."""

from dataclasses import dataclass
from typing import Literal

from medcam.findings import CAPTION, Case
from medcam.record import Record
from medcam.reports import _figures, _finding, _review, _technique
from medcam.reports._blocks import Block, Figures, Rows, Section, Words
from medcam.reports._picture_words import may_name_patient, unpainted
from medcam.reports.base import DISCLAIMER, Context

Tone = Literal["flagged", "refer", "quiet", "demonstration"]


@dataclass(frozen=True)
class Content(Record):
    """A whole report in words."""

    title: str
    question: str
    decision: str
    tone: Tone
    score: str
    reviewed: str
    """One sentence on whether a human has looked."""
    disclaimer: str
    sections: tuple[Section, ...]


def content(case: Case, context: Context) -> Content:
    """What is said about a case."""
    return Content(
        title=f"AI finding: {case.finding}",
        question=case.question,
        decision=case.decision.text,
        tone=_tone(case),
        score=f"{case.prediction.score_name} {case.prediction.score:.3f}, threshold {case.prediction.threshold:.3f}",
        reviewed=_review.status(context.verdicts),
        disclaimer=DISCLAIMER,
        sections=(
            Section("patient", "Patient and study", _patient(case, context)),
            Section("technique", "Technique", _technique.blocks(case, context.identifiers is not None)),
            Section("finding", "AI finding", _finding.blocks(case)),
            Section("images", "Images", _images(case)),
            Section("regions", "Regions", _finding.regions(case)),
            Section("review", "Reviewer's assessment", _review.blocks(case, context.verdicts)),
            Section("limits", "Limits", _limits(case)),
            Section("model", "Model", _model(case)),
            Section("provenance", "Provenance", _provenance(case, context)),
        ),
    )


def _tone(case: Case) -> Tone:
    tones: dict[str, Tone] = {"flagged": "flagged", "refer": "refer", "not flagged": "quiet"}
    if case.decision.outdated:
        return "quiet"
    return "demonstration" if case.decision.demonstration else tones[case.decision.outcome]


def _patient(case: Case, context: Context) -> tuple[Block, ...]:
    pseudonyms = (("Case", case.key), ("Patient (pseudonym)", case.patient_key), ("Study (pseudonym)", case.study_key))
    source = (("Source", "phantom: a synthetic image, not a patient"),) if case.phantom else ()
    ids = context.identifiers
    if ids is None:
        return (Rows((*pseudonyms, *source, ("Identifiers", "left out of this report"))),)
    known = (
        ("Patient name", ids.patient_name),
        ("Patient ID", ids.patient_id),
        ("Birth date", ids.birth_date),
        ("Sex", ids.sex),
        ("Accession number", ids.accession_number),
        ("Study date", ids.study_date),
        ("Study Instance UID", ids.study_uid),
        ("Series Instance UID", ids.series_uid),
    )
    return (Rows((*((name, value or "not stated") for name, value in known), *pseudonyms, *source)),)


def _images(case: Case) -> tuple[Block, ...]:
    explanation = case.explanation
    captions = _figures.captions(case)
    notes = [f"{note[:1].upper()}{note[1:]}." for note in explanation.notes]
    warnings = [note for note in notes if "map is" in note]
    if unpainted(case) and not warnings:
        warnings.append(unpainted(case))
    if may_name_patient(case):
        warnings.append("Names may be burned into the source's pixels: look at the pictures before you hand them on.")
    both = explanation.display_range[0] < 0
    signed = "orange speaks for the finding, blue against it" if both else "orange speaks for the finding"
    how = (
        f"Evidence of {explanation.method} at layer {explanation.layer}, in {explanation.unit}; {signed}. "
        "One colour scale for the whole series; below a quarter of full colour nothing is painted. "
        "Pictures are display copies at one window for original and overlay."
    )
    blocks: list[Block] = [Words(tuple(warnings), "warning")] if warnings else []
    others = [note for note in notes if note not in warnings]
    return (*blocks, Figures(captions), Words((CAPTION, how, *others)))


def _limits(case: Case) -> tuple[Block, ...]:
    general = (
        'A result below the threshold reads "not flagged". It does not mean that the image is normal.',
        "The model answers one question only; other findings are neither looked for nor excluded.",
        CAPTION,
    )
    stated = (case.limits,) if case.limits else ()
    return (Words((*stated, *general)),)


def _model(case: Case) -> tuple[Block, ...]:
    made, prediction = case.provenance, case.prediction
    demonstration = (
        (("Purpose", "demonstration of the software; trained on phantoms, not on patients"),)
        if case.decision.demonstration
        else ()
    )
    return (
        Rows(
            (
                ("Model", made.model),
                ("Version", made.model_version),
                *demonstration,
                ("Question", case.question),
                ("Score", prediction.score_name),
                ("Operating point", f"{prediction.threshold:.3f}, {prediction.threshold_origin}"),
                ("Weights, SHA-256", made.model_hash),
            )
        ),
    )


def _provenance(case: Case, context: Context) -> tuple[Block, ...]:
    made = case.provenance
    return (
        Rows(
            (
                ("medcam-toolkit", made.medcam_version),
                ("Pipeline", f"{made.pipeline} (SHA-256 {made.pipeline_hash})"),
                ("Source files, SHA-256", made.source_hash),
                ("Device and seed", f"{made.device}, seed {made.seed}"),
                ("Screened", moment(made.created)),
                ("Reported", moment(context.created)),
            )
        ),
        Rows(tuple(sorted(made.libraries.items())), "Libraries", short=True),
    )


def moment(time: str) -> str:
    """An ISO 8601 time for people."""
    return _review.moment(time)
