"""The words about a score: decision, threshold, how far the score moves, and where the evidence lies."""

from medcam.findings import Case, Prediction, Region, Uncertainty
from medcam.reports._blocks import Block, Rows, Table, Words
from medcam.reports._timeline import part_words

DEMONSTRATION = (
    "Demonstration only. The model was trained on synthetic images to show the software. "
    "It says nothing about this patient and decides nothing."
)
NOT_NORMAL = '"Not flagged" means that the score lies below the threshold. It does not mean that the image is normal.'
ROLE = "The software scores the image and marks what influenced the score; it makes no diagnosis. A human decides."


def blocks(case: Case) -> tuple[Block, ...]:
    """Decision, score with its threshold, and uncertainty in words and numbers."""
    prediction, decision = case.prediction, case.decision
    warnings = (DEMONSTRATION,) if decision.demonstration else ()
    if not decision.demonstration and decision.outcome == "not flagged":
        warnings = (NOT_NORMAL,)
    if decision.outdated:
        warnings = (f"Outdated: {decision.outdated}", *warnings)
    rows = (
        ("Decision", decision.text),
        ("Why", "; ".join(decision.reasons)),
        (prediction.score_name.capitalize(), f"{prediction.score:.3f} (logit {prediction.logit:.3f})"),
        ("Threshold", f"{prediction.threshold:.3f}, {prediction.threshold_origin}"),
        *_parts(case),
        *_learned(prediction),
        ("Uncertainty", spread_words(case.uncertainty, prediction.score, prediction.threshold)),
        ("Strongest evidence", _peak(case)),
        ("Role of the software", ROLE),
    )
    found: list[Block] = [Words(warnings, "warning")] if warnings else []
    found.append(Rows(rows))
    if case.uncertainty.scores:
        scores = tuple((name, f"{score:.3f}") for name, score in case.uncertainty.scores.items())
        found.append(Rows(scores, f"{prediction.score_name.capitalize()} under each disturbance", short=True))
    if prediction.support is not None and prediction.support.neighbours:
        near = tuple((one.patient, one.text) for one in prediction.support.neighbours)
        found.append(Rows(near, "Nearest training cases, by hashed patient"))
    return tuple(found)


def _learned(prediction: Prediction) -> tuple[tuple[str, str], ...]:
    """What calibration patients and training cases say, where the bundle holds them."""
    rows = []
    if prediction.conformal_set is not None:
        rows.append((prediction.conformal_set.name, prediction.conformal_set.text))
    if prediction.support is not None:
        rows.append(("Support", prediction.support.text))
    return tuple(rows)


def _peak(case: Case) -> str:
    """The place of the strongest evidence, and how far it moves."""
    explanation = case.explanation
    cell = int(explanation.evidence.argmax())
    if not case.regions or explanation.spread is None:
        return case.where
    spread = float(explanation.spread.flat[cell])
    value = f"{float(explanation.evidence.flat[cell]):.3g} {explanation.unit}, standard deviation {spread:.3g}"
    return f"{case.where}; {value} under the disturbances"


def _parts(case: Case) -> tuple[tuple[str, str], ...]:
    scores = case.prediction.part_scores
    if not scores:
        return ()
    part = {"cine": "frames", "slide": "tiles"}.get(case.kind, "parts")
    highest = max(range(len(scores)), key=scores.__getitem__)
    where = f" at {part_words(case, highest)}" if case.kind == "cine" else ""
    pooled = f"pooled by {case.prediction.pooling} over" if case.prediction.pooling else "from"
    words = f"{pooled} {len(scores)} {part}; highest {scores[highest]:.3f}{where}"
    rows = [("Pooling", f"{words}, lowest {min(scores):.3f}")]
    if case.prediction.part_weights:
        rows.append(("Attention", _attention(case, part)))
    return tuple(rows)


def _attention(case: Case, part: str) -> str:
    """How far the score comes from a few frames or tiles only."""
    weights = case.prediction.part_weights
    shares = sorted(weights, reverse=True)
    half = next(count for count in range(1, len(shares) + 1) if sum(shares[:count]) >= 0.5 * sum(shares))
    most = f" on {part_words(case, weights.index(shares[0]))}" if case.kind == "cine" else f" on one of the {part}"
    return f"half of the score's attention lies on {half} of {len(shares)} {part}; most, {shares[0]:.0%},{most}"


def spread_words(uncertainty: Uncertainty, score: float, threshold: float) -> str:
    """How far the score moves, whether that would change the decision, and whose doubt it is."""
    scores = list(uncertainty.scores.values())
    if not scores or uncertainty.score_sd is None:
        return "not measured"
    crossed = sum((other >= threshold) != (score >= threshold) for other in scores)
    stable = (
        "the decision holds under all of them"
        if crossed == 0
        else f"under {crossed} of them the score falls on the other side of the threshold"
    )
    what = {"dropout": "passes", "ensemble": "networks"}.get(uncertainty.method, "disturbances")
    words = (
        f"{uncertainty.name}: {len(scores)} {what} move the score between {min(scores):.3f} and "
        f"{max(scores):.3f}, standard deviation {uncertainty.score_sd:.3f}; {stable}"
    )
    return "; ".join((words, *uncertainty.parts))


def regions(case: Case) -> tuple[Block, ...]:
    """One line per region, strongest first as found."""
    if not case.regions:
        return (Words(("No region: nowhere does the evidence reach the level at which regions are cut out.",)),)
    with_slices, with_time = case.kind == "volume", case.kind == "cine"
    head = ["No."]
    head += ["Slices"] if with_slices else ["Frames", "Seconds"] if with_time else []
    head += ["Rows", "Columns", "Size", "Peak evidence", "Share of evidence", "Cut at"]
    lines = (_region(number, region, case) for number, region in enumerate(case.regions, start=1))
    note = "Slices and frames count from 1, rows and columns from 0 at the upper left. Boxes are the extent of the "
    unit = case.explanation.unit
    return (
        Table(tuple(head), tuple(lines)),
        Words((f"{note}evidence, not of a lesion. Evidence in {unit}; share is of the series' positive evidence.",)),
    )


def _region(number: int, region: Region, case: Case) -> tuple[str, ...]:
    cells = [str(number)]
    if case.kind in ("volume", "cine"):
        cells.append(f"{region.start[0] + 1}-{region.stop[0]} (peak {region.peak[0] + 1})")
    if case.kind == "cine":
        cells.append("{:.2f}-{:.2f}".format(*region.interval_s) if region.interval_s else "not known")
    cells += [f"{region.start[axis]}-{region.stop[axis] - 1} (peak {region.peak[axis]})" for axis in (-2, -1)]
    cells.append(" x ".join(f"{size:.3g}" for size in region.size_mm) + " mm" if region.size_mm else "mm not known")
    cells += [f"{region.peak_value:.3g}", f"{region.mass:.0%}", f"{region.threshold:.3g}"]
    return tuple(cells)
